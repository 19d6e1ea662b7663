"""holdfast: runs that died in their second step are claimed at start, their first step remembered."""

from __future__ import annotations

import asyncio
from pathlib import Path

from benchmarks.contestants.recovery import Counts, Look
from holdfast import Engine, Workflow
from holdfast.workflow.steps import RunContext

DONE = "SELECT count(*) FROM records WHERE kind = 'run' AND status = 'done'"


def file(folder: Path) -> Path:
    """Where the runs are kept."""
    return folder / "holdfast.db"


def _workflow(counts: Counts) -> Workflow:
    wf = Workflow("count")

    @wf.state("counting", start=True, to="counted")
    async def count(ctx: RunContext) -> None:
        for body in (counts.first, counts.second, counts.third):
            await ctx.step(body.__name__, body)

    wf.final("counted")
    return wf


async def prepare(folder: Path, runs: int, counts: Counts) -> None:
    """Start `runs`, each up to its second step, which does not end; then be killed."""
    async with Engine(f"sqlite:///{file(folder)}", _workflow(counts)) as engine:
        await asyncio.gather(*(engine.start("count", number) for number in range(runs)))
        await counts.all_hang()


async def recover(folder: Path, runs: int, counts: Counts) -> None:
    """Open the engine, which recovers by itself, until all have ended."""
    async with Engine(f"sqlite:///{file(folder)}", _workflow(counts)):
        await Look(file(folder), DONE).until(runs)
