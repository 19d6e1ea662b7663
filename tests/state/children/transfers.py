"""Transactions without end: `transfers URL`. Says "go", then each acknowledged transfer. Killed by the test."""

from __future__ import annotations

import asyncio
import itertools
import sys

from holdfast import StateManager, UserExecutionContext
from holdfast.state.transaction import StateTransaction

WRITERS = 4
ACCOUNTS = 40


async def main(url: str) -> None:
    context = UserExecutionContext(user="ana", tenant="acme")
    async with StateManager(url, sweep_every=None) as state:
        if await state.count(context, "account") == 0:
            await state.set_many(context, {f"account/{number}": 100 for number in range(ACCOUNTS)})
        sys.stdout.write("go\n")
        sys.stdout.flush()

        async def work(number: int) -> None:
            """Each moves money between accounts of his own, all of them in one transaction, and keeps a book."""
            own = range(number * ACCOUNTS // WRITERS, (number + 1) * ACCOUNTS // WRITERS)
            for turn in itertools.count():

                async def transfer(t: StateTransaction, turn: int = turn) -> None:
                    for place, account in enumerate(own):
                        step = 1 if place % 2 else -1
                        await t.update(f"account/{account}", lambda value, step=step: value + step)
                    await t.set(f"book/{number}/{turn % 5}", turn)

                await state.transact(context, transfer)
                await state.update(context, "total", lambda value: value + 1, initial=0)
                sys.stdout.write(f"done {number} {turn}\n")
                sys.stdout.flush()

        await asyncio.gather(*(work(number) for number in range(WRITERS)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
