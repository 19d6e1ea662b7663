"""A process that writes one more version once its cache can be used, and is expected to die of it."""

from __future__ import annotations

import asyncio
import sys

from holdfast.store.mirror.rules import Promise
from holdfast.store.mirror.store import MirrorStore
from tests.store.mirror.truths import put, run_key, usable


async def main(url: str) -> None:
    store = await usable(MirrorStore(url, promise=Promise(budget_s=2.0)))
    await put(store, run_key(), 2)
    await store.flush()
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
