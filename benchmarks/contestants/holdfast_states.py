"""holdfast: a state for each step, so that each step is also a transition, judged and journalled."""

from __future__ import annotations

from pathlib import Path

from benchmarks.contestants.process import Measured, Size
from benchmarks.contestants.waves import measured
from benchmarks.contestants.witness import FileWitness, Witness
from holdfast import Engine, Workflow
from holdfast.workflow.actors.steps import RunContext


def workflow(size: Size, witness: Witness) -> Workflow:
    """A line of states, each with one step."""
    wf = Workflow("count")

    async def add(number: int) -> int:
        witness.saw_body()
        return number + 1

    async def count(ctx: RunContext) -> None:
        ctx.data["number"] = await ctx.step("add", add, ctx.data.get("number", ctx.input))

    for place in range(size.steps):
        wf.state(f"s{place}", start=place == 0, to=f"s{place + 1}")(count)
    wf.final(f"s{size.steps}")
    return wf


async def run(place: str, size: Size) -> Measured:
    """Every run of a wave started at once, by one user."""
    path = Path(place) / "holdfast.db"
    witness = FileWitness(path, "SELECT count(*) FROM events WHERE name = 'transition'")
    async with Engine(f"sqlite:///{path}", workflow(size, witness)) as engine:

        async def one(number: int) -> int:
            handle = await engine.start("count", number)
            result: int = (await handle.result())["number"]
            return result

        return await measured(one, size, witness)
