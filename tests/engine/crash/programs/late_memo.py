"""The workflow of `line` on a store that is slow with the memo of b: half a second passes before it is queued."""

from __future__ import annotations

import asyncio

from holdfast import Engine
from holdfast.store.contract.records import Change
from holdfast.store.open import open_store
from holdfast.testing.faulty_store import Fault, FaultyStore, When
from tests.engine.crash.programs.line import wf
from tests.engine.crash.programs.world import USER, World

DELAY_S = 0.5


async def main(world: World) -> None:
    def is_memo_of_b(change: Change) -> bool:
        return any(key.kind == "memo" and key.id.endswith("/b") for key in change.keys)

    async def pause() -> None:
        world.ledger.add("delayed")
        await asyncio.sleep(DELAY_S)

    store = open_store(world.plan.url)
    slow = FaultyStore(store, script=[When("commit", 1, Fault.DELAY, only=is_memo_of_b)], pause=pause)
    async with Engine(slow, wf) as engine:
        run = await engine.start("line", {"number": 0}, id="T-0", user=USER)
        await run.result()
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(World.of_arguments()))
