"""One run whose steps kill their process: the first one twice, the second once; then everything goes well."""

from __future__ import annotations

import os
import signal

from holdfast import RunContext, Workflow
from tests.engine.crash.programs.world import World

DEATHS = {"one": 2, "two": 1}

world = World.of_arguments()
wf = Workflow("stubborn", data=dict)


async def act(what: str, *, key: str) -> None:
    await world.act(what, key=key)
    if len(world.ledger.keys(what)) <= DEATHS[what]:
        os.kill(os.getpid(), signal.SIGKILL)


@wf.state("work", start=True, to="done")
async def work(ctx: RunContext) -> None:
    await ctx.step("one", act, "one")
    await ctx.step("two", act, "two")


wf.final("done")

if __name__ == "__main__":
    world.play(wf)
