"""A step with a result of 3 MB, kept by the run as a blob, and read in the next state."""

from __future__ import annotations

from holdfast import RunContext, Workflow
from tests.engine.crash.programs.world import World

world = World.of_arguments()
wf = Workflow("large", data=dict)


async def big(*, key: str) -> str:
    """Three million letters."""
    return await world.act("a", key=key) * 3_000_000


@wf.state("first", start=True, to="second")
async def first(ctx: RunContext) -> None:
    text = await ctx.step("a", big)
    await world.rest("rest")
    ctx.data["report"] = await ctx.put_blob("report", text.encode())


@wf.state("second", to="done")
async def second(ctx: RunContext) -> None:
    ctx.data["seen"] = len(await ctx.get_blob(ctx.data["report"]))
    await ctx.step("c", world.act, "c")


wf.final("done")

if __name__ == "__main__":
    world.play(wf)
