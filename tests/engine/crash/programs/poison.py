"""A hundred and one runs, each at a desk of its own; the work of number 0 kills whatever process it runs in."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from holdfast import Engine, RunContext, Workflow, WorkflowError
from tests.engine.crash.programs.world import USER, World

RUNS = 101
WORK_S = 0.05
"""Longer than the poison takes to kill, so that innocent runs die with it."""

world = World.of_arguments()
wf = Workflow("poison", data=dict)


@wf.state("prepare", start=True, to="work")
async def prepare(ctx: RunContext) -> None:
    ctx.data["desk"] = str(ctx.input["number"])


@wf.state("work", to="done", lock=lambda data: ("desk", data["desk"]))
async def work(ctx: RunContext) -> None:
    async def toil(*, key: str) -> None:
        await world.act("work", key=key)
        if ctx.input["number"] == 0 and "cured" not in world.plan.holds:
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(WORK_S)

    ctx.data["token"] = ctx.token
    await ctx.step("work", toil)


wf.final("done")


async def until_settled(engine: Engine) -> None:
    """Until every run has ended or was set aside; with `cured`, the one set aside is resumed by hand first."""
    if "cured" in world.plan.holds:
        await (await engine.get("T-0", user=USER)).resume(by="operator", reason="the tool was replaced")
    for number in range(RUNS):
        run = await engine.get(f"T-{number}", user=USER)
        try:
            await run.result()
        except WorkflowError:
            world.ledger.add("set aside", run.ticket_id)


if __name__ == "__main__":
    world.play(wf, then=None if world.plan.starts else until_settled)
    sys.exit(0)
