"""The workflow of workers: two states; `first` takes two steps and a rest between, `second` takes one.

A body named in `holds` waits, after its line in the ledger, for a line "go" with its name there, whoever writes it.
"""

from __future__ import annotations

import asyncio

from holdfast import RunContext, Workflow
from tests.engine.crash.programs.world import World

LOOK_S = 0.005

world = World.of_arguments()
wf = Workflow("jobs", data=dict)


async def act(what: str, *, key: str) -> str:
    """One line in the ledger; the world beyond would drop it if the key were known."""
    world.ledger.add(what, key)
    while what in world.plan.holds and what not in world.ledger.keys("go"):  # noqa: ASYNC110 -- another process says so
        await asyncio.sleep(LOOK_S)
    return what


@wf.state("first", start=True, to="second")
async def first(ctx: RunContext) -> None:
    world.ledger.add("begun", ctx.user.user)
    await ctx.step("a", act, "a")
    await asyncio.sleep(0)
    await ctx.step("b", act, "b")
    await asyncio.sleep(LOOK_S)


@wf.state("second", to="done")
async def second(ctx: RunContext) -> None:
    await ctx.step("c", act, "c")


wf.final("done")
