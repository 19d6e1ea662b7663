"""A workflow of two states whose bodies are counted, for engines in the test's own process."""

from __future__ import annotations

from collections import Counter

from holdfast import RunContext, Workflow

MOVES = [("", "first"), ("first", "second"), ("second", "done")]


def two_states() -> tuple[Workflow, Counter[str]]:
    """ "pair" takes the steps a and b, then c; and how often the body of each has run."""
    bodies: Counter[str] = Counter()
    wf = Workflow("pair", data=dict)

    async def body(name: str) -> None:
        bodies[name] += 1

    @wf.state("first", start=True, to="second")
    async def first(ctx: RunContext) -> None:
        await ctx.step("a", body, "a")
        await ctx.step("b", body, "b")

    @wf.state("second", to="done")
    async def second(ctx: RunContext) -> None:
        await ctx.step("c", body, "c")
        ctx.data["number"] = ctx.input

    wf.final("done")
    return wf, bodies
