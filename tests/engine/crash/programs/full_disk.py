"""A file that may not grow any more while twenty runs are at work, and then may again; the process lives on."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

from holdfast import Engine, RunContext, Unavailable, Workflow, health_of
from tests.engine.crash.programs.world import USER, World

RUNS = 20
LIMIT_BYTES = 48 * 1024
"""Less than the write-ahead log has by then, more than the ledger and what the program says."""


def may_grow_to(limit_bytes: int) -> None:
    """How big this process may make any file; what goes beyond is refused as on a full disk."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, most))


async def main(world: World) -> None:
    wf = Workflow("full", data=dict)
    at_work, may_end = asyncio.Semaphore(0), asyncio.Event()

    async def body(*, key: str) -> str:
        await world.act("body", key=key)
        at_work.release()
        await may_end.wait()
        return key

    @wf.state("work", start=True, to="done")
    async def work(ctx: RunContext) -> None:
        ctx.data["key"] = await ctx.step("body", body)

    wf.final("done")
    async with Engine(world.plan.url, wf) as engine:
        runs = [await engine.start("full", "x" * 1000, id=f"T-{number}", user=USER) for number in range(RUNS)]
        for _ in runs:
            await at_work.acquire()
        log = Path(world.plan.url.removeprefix("sqlite:///") + "-wal")
        assert log.stat().st_size > LIMIT_BYTES, "the limit would not be felt"
        may_grow_to(LIMIT_BYTES)
        may_end.set()
        try:
            await engine.start("full", "x", id="T-late", user=USER)
        except Unavailable as error:
            world.ledger.add("refused", error.message[-200:])
        world.ledger.add("health", health_of(engine).status.value)
        may_grow_to(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
        for run in runs:
            await run.result()
        world.ledger.add("finished")


if __name__ == "__main__":
    asyncio.run(main(World.of_arguments()))
