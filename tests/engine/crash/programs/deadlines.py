"""Two waits with a time limit: `asked` comes round again when somebody asks anew, and so does its limit."""

from __future__ import annotations

import os
import signal

from holdfast import Engine, RunContext, Workflow
from tests.engine.crash.programs.world import USER, World

world = World.of_arguments()
wf = Workflow("deadlines", data=dict)
wf.wait("asked", start=True, on={"ask_again": "asking"}, after={"48h": "reminded"})


@wf.state("asking", to="asked")
async def asking(ctx: RunContext) -> None:
    await ctx.step("ask", world.act, "ask")


@wf.state("reminded", to="escalating")
async def reminded(ctx: RunContext) -> None:
    await ctx.step("remind", world.act, "remind")


wf.wait("escalating", on={"answer": "answered"}, after={"24h": "given_up"})
wf.final("answered", "given_up")


async def ask_again_and_die(engine: Engine) -> None:
    """With a later clock: T-0 is asked anew, which leaves its state and enters it again; then SIGKILL."""
    run = await engine.get("T-0", user=USER)
    await run.send("ask_again", by=USER)
    await run.reach("asked")
    os.kill(os.getpid(), signal.SIGKILL)


async def rest_and_say_when(engine: Engine) -> None:
    """Until nothing will happen any more before time passes."""
    while not engine.is_quiet or engine.inside.recovery.sweeps < 2:
        await world.rest("quiet")
    world.ledger.add("quiet")


if __name__ == "__main__":
    world.play(wf, then=ask_again_and_die if "anew" in world.plan.holds else rest_and_say_when)
