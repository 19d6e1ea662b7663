"""Two regions side by side and a join: `code` can be made to fail at its first attempt, each can be held up."""

from __future__ import annotations

from holdfast import Retry, RunContext, Workflow
from tests.engine.crash.programs.world import World

world = World.of_arguments()
wf = Workflow("regions", data=dict, retry=Retry(attempts_max=3, first_s=0.05))


@wf.state("analysis.k8s", start=True)
async def k8s(ctx: RunContext) -> None:
    ctx.data["k8s"] = await ctx.step("k8s", world.act, "k8s")


@wf.state("analysis.code")
async def code(ctx: RunContext) -> None:
    ctx.data["found"] = await ctx.step("code", world.act, "code")
    if "code-fails" in world.plan.holds and ctx.attempt == 1:
        raise ConnectionError("the repository's host is away")
    ctx.data["read"] = await ctx.step("read", world.act, "read")


wf.parallel("analysis", to="decide")


@wf.state("decide", to="done")
async def decide(ctx: RunContext) -> None:
    ctx.data["cause"] = await ctx.step("decide", world.act, "decide")


wf.final("done")

if __name__ == "__main__":
    world.play(wf)
