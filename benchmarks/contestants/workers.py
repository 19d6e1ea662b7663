"""A worker process of the benchmark: `python -m benchmarks.contestants.workers URL RUNS_MAX`, ended by closing stdin.

It says "ready" when all is imported, and opens its engine at the first line on stdin.
"""

from __future__ import annotations

import asyncio
import sys

from holdfast import Engine, Workflow
from holdfast.workflow.actors.steps import RunContext

STEPS = 10


def workflow() -> Workflow:
    """One state with ten trivial steps, each durable before the next begins."""
    wf = Workflow("count", data=dict)

    async def add(number: int) -> int:
        return number + 1

    @wf.state("counting", start=True, to="counted")
    async def count(ctx: RunContext) -> None:
        number = 0
        for place in range(STEPS):
            number = await ctx.step("add", add, number, key=str(place))
        ctx.data["number"] = number

    wf.final("counted")
    return wf


async def work(url: str, runs_max: int) -> None:
    """Work until stdin is closed."""
    async with Engine(url, workflow(), runs_max=runs_max):
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()
    asyncio.run(work(sys.argv[1], int(sys.argv[2])))
