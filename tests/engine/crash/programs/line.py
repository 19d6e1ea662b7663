"""Three states in a line: `first` takes two steps and then rests, so that its last memo is written by itself; `second`
and `third` take one step each."""

from __future__ import annotations

from holdfast import RunContext, Workflow
from tests.engine.crash.programs.world import World

world = World.of_arguments()
wf = Workflow("line", data=dict)


@wf.state("first", start=True, to="second")
async def first(ctx: RunContext) -> None:
    ctx.data["a"] = await ctx.step("a", world.act, "a")
    ctx.data["b"] = await ctx.step("b", world.act, "b")
    await world.rest("rest")


@wf.state("second", to="third")
async def second(ctx: RunContext) -> None:
    ctx.data["c"] = await ctx.step("c", world.act, "c")


@wf.state("third", to="done")
async def third(ctx: RunContext) -> None:
    ctx.data["d"] = await ctx.step("d", world.act, "d")


wf.final("done")

if __name__ == "__main__":
    world.play(wf)
