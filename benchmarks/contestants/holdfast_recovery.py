"""holdfast: runs that died in their second step are claimed at start, their first step remembered."""

from __future__ import annotations

import asyncio
from pathlib import Path

from benchmarks.contestants.recovery import Counts, until_ended
from benchmarks.contestants.witness import FileWitness, Witness
from holdfast import Engine, Workflow
from holdfast.workflow.actors.steps import RunContext


def _file(place: str) -> Path:
    return Path(place) / "holdfast.db"


def _workflow(counts: Counts) -> Workflow:
    wf = Workflow("count")

    @wf.state("counting", start=True, to="counted")
    async def count(ctx: RunContext) -> None:
        for body in (counts.first, counts.second, counts.third):
            await ctx.step(body.__name__, body)

    wf.final("counted")
    return wf


async def prepare(place: str, runs: int, counts: Counts) -> None:
    """In a file of the folder `place`."""
    await prepare_in(f"sqlite:///{_file(place)}", runs, counts)


async def recover(place: str, runs: int, counts: Counts) -> None:
    """From the file."""
    witness = FileWitness(_file(place), "SELECT count(*) FROM records WHERE kind = 'run' AND status = 'done'")
    await recover_in(f"sqlite:///{_file(place)}", runs, counts, witness)


async def prepare_in(url: str, runs: int, counts: Counts) -> None:
    """Start `runs`, each up to its second step, which does not end; then be killed."""
    async with Engine(url, _workflow(counts)) as engine:
        await asyncio.gather(*(engine.start("count", number) for number in range(runs)))
        await counts.all_hang()


async def recover_in(url: str, runs: int, counts: Counts, witness: Witness) -> None:
    """Open the engine, which recovers by itself, until all have ended."""
    async with Engine(url, _workflow(counts)):
        await until_ended(witness, runs)
