"""Very many runs at once. The first process gets them all to work and is killed; the next one measures its recovery.

It says in the ledger, as keys in seconds: `progress`, from the engine's entry to the first transition of a recovered
run that was acknowledged; `finished`, to the end of the last one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from holdfast import Engine, RunContext, Workflow
from tests.engine.crash.programs.world import USER, World

AT_ONCE = 500


class Watch:
    """When things happened to the runs of this process."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.entered = 0
        self.progressed = 0
        self.ended = 0
        self.all_entered = asyncio.Event()
        self.all_ended = asyncio.Event()
        self.began_at = time.monotonic()

    def since_s(self) -> str:
        return f"{time.monotonic() - self.began_at:.3f}"


async def each(count: int, do: Callable[[int], Coroutine[Any, Any, object]]) -> None:
    """`do` for every number below `count`, some at a time."""
    for first in range(0, count, AT_ONCE):
        async with asyncio.TaskGroup() as group:
            for number in range(first, min(first + AT_ONCE, count)):
                group.create_task(do(number))


async def main(world: World) -> None:
    plan = world.plan
    watch = Watch(plan.starts or plan.awaits)
    wf = Workflow("many", data=dict)

    @wf.state("work", start=True, to="report")
    async def work(ctx: RunContext) -> None:
        watch.entered += 1
        if watch.entered == watch.count:
            watch.all_entered.set()
        if plan.starts:
            await asyncio.Event().wait()
        ctx.data["length"] = await ctx.step("count", len, ctx.ticket_id)

    @wf.state("report", to="done")
    async def report(ctx: RunContext) -> None:
        watch.progressed += 1
        if watch.progressed == 1:
            world.ledger.add("progress", watch.since_s())

    wf.final("done")
    async with Engine(plan.url, wf, runs_max=plan.starts or plan.awaits) as engine:
        if plan.starts:
            await each(plan.starts, lambda number: engine.start("many", id=f"T-{number}", user=USER))
            await watch.all_entered.wait()
            world.ledger.add("busy")
            await asyncio.Event().wait()

        async def end(number: int) -> None:
            await (await engine.get(f"T-{number}", user=USER)).result()

        await each(plan.awaits, end)
        world.ledger.add("finished", watch.since_s())
        world.ledger.add("spread", str(engine.recovered))


if __name__ == "__main__":
    asyncio.run(main(World.of_arguments()))
