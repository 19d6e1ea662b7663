"""A process that runs one user's calls until it is killed, and says each that it was answered: `URL STARTS`."""

from __future__ import annotations

import asyncio
import sys

from holdfast import ExecutionEngine, QuotaExceeded, UserQuota
from tests.users.conftest import DirectCore, context


async def work(url: str, starts: int) -> None:
    """Call after call; the number of each that returned, and "refused" in the end."""

    async def agent(ctx: object, value: int, tell: object) -> int:
        return value

    async with ExecutionEngine(url, DirectCore(), quota=UserQuota(starts=starts)) as engine:
        engine.registry.declare("agent", lambda ctx: agent)
        number = 0
        while True:
            number += 1
            try:
                await engine.run(context("ana"), "agent", number)
            except QuotaExceeded:
                print("refused", flush=True)
                return
            await engine.publish(context("ana"), "said", number)
            print(number, flush=True)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], int(sys.argv[2])))
