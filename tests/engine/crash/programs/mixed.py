"""Runs with a bit of everything: regions, a step that fails at first, a lock that few names share, a short wait."""

from __future__ import annotations

import asyncio

from holdfast import Retry, RunContext, Workflow
from tests.engine.crash.programs.world import World

world = World.of_arguments()
wf = Workflow("mixed", data=dict, retry=Retry(attempts_max=5, first_s=0.02))


@wf.state("analysis.k8s", start=True)
async def k8s(ctx: RunContext) -> None:
    for name in ("pods", "events"):
        ctx.data[name] = await ctx.step(name, world.act, f"{name} of {ctx.ticket_id}")


@wf.state("analysis.code")
async def code(ctx: RunContext) -> None:
    if ctx.attempt == 1:
        raise ConnectionError("the repository's host is away")
    ctx.data["read"] = await ctx.step("read", world.act, f"read of {ctx.ticket_id}")


wf.parallel("analysis", to="repair")


@wf.state("repair", to="pause", lock=lambda data: ("repository", data["pods"].rpartition("-")[2][-1]))
async def repair(ctx: RunContext) -> None:
    repository = str(ctx.input["number"] % 10)

    async def change(*, key: str) -> None:
        world.ledger.add(f"in {repository}", f"{ctx.token}")
        await asyncio.sleep(0.001)
        world.ledger.add(f"out {repository}", f"{ctx.token}")

    await ctx.step("change", change)


wf.wait("pause", on={"skip": "done"}, after={"20ms": "done"})
wf.final("done")

if __name__ == "__main__":
    world.play(wf)
