"""holdfast: one state whose handler takes all the steps. WAL, `synchronous=FULL`, as `Engine` opens it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.contestants.process import Measured, Size
from benchmarks.contestants.waves import measured
from benchmarks.contestants.witness import FileWitness, Witness
from holdfast import Engine, Workflow
from holdfast.workflow.actors.steps import RunContext


def workflow(size: Size, witness: Witness) -> Workflow:
    """A workflow of one state."""
    wf = Workflow("count")

    async def add(number: int) -> int:
        witness.saw_body()
        return number + 1

    @wf.state("counting", start=True, to="counted")
    async def count(ctx: RunContext) -> None:
        number = ctx.input
        for place in range(size.steps):
            number = await ctx.step("add", add, number, key=str(place))
        ctx.data["number"] = number

    wf.final("counted")
    return wf


async def run(place: str, size: Size) -> Measured:
    """Every run of a wave started at once, by one user."""
    path = Path(place) / "holdfast.db"
    witness = FileWitness(path, "SELECT count(*) FROM records WHERE kind = 'memo'")
    async with Engine(f"sqlite:///{path}", workflow(size, witness)) as engine:

        async def one(number: int) -> int:
            handle = await engine.start("count", number)
            result: int = (await handle.result())["number"]
            return result

        return await measured(one, size, witness)
