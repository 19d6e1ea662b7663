"""Every second a run of one step; no run is started by hand, and it ends when its stdin is closed."""

from __future__ import annotations

from holdfast import RunContext, Workflow
from tests.engine.crash.programs.world import USER, World

world = World.of_arguments()
wf = Workflow("tick", data=dict)


@wf.state("tick", start=True, to="done")
async def tick(ctx: RunContext) -> None:
    await ctx.step("tick", world.act, "tick")


wf.final("done")
wf.every("1s", user=USER, missed="all")

if __name__ == "__main__":
    world.play(wf)
