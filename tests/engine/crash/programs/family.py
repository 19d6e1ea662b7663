"""A run that waits for its child, which waits for one of its own that takes two steps and then a sign; and, with
`holds=("cancel",)`, a hand that cancels the first of them instead of giving it."""

from __future__ import annotations

from contextlib import suppress

from holdfast import Engine, Rejected, RunContext, RunHandle, Workflow
from tests.engine.crash.programs.world import USER, World

world = World.of_arguments()
top = Workflow("top", data=dict)
top.child("below", workflow="middle", to={"done": "over", "cancelled": "gone"}, into="below", start=True)
top.final("over", "gone")

middle = Workflow("middle", data=dict)
middle.child("below", workflow="leaf", to={"done": "over", "cancelled": "gone"}, into="below", start=True)
middle.final("over", "gone")

leaf = Workflow("leaf", data=dict)


@leaf.state("work", start=True, to="asleep")
async def work(ctx: RunContext) -> None:
    ctx.data["a"] = await ctx.step("a", world.act, "a")
    ctx.data["b"] = await ctx.step("b", world.act, "b")


leaf.wait("asleep", on={"wake": "awake"}, sla="1h")
leaf.final("awake")


async def see_to_it(engine: Engine) -> None:
    """Until all three have ended, by a sign to the last or by a cancel of the first, if that has not come to be."""
    client = engine.client(USER)
    first = await client.get("T-0", workflow="top")
    second = await only_child(engine, first)
    third = await only_child(engine, second)
    if world.plan.holds == ("cancel",):
        if not first.run.is_ended:
            await first.cancel(by=USER)
    elif not third.run.is_ended:
        await third.reach("asleep", "awake")
        if not third.run.is_ended:
            await third.send("wake", by=USER)
    for run in (third, second, first):
        with suppress(Rejected):  # cancelled, as it was to be
            await run.result()


async def only_child(engine: Engine, run: RunHandle) -> RunHandle:
    """The one run that `run` started."""
    (found,), _ = await engine.client(USER).runs(labels={"parent": run.id})
    return found


if __name__ == "__main__":
    world.play(top, middle, leaf, then=see_to_it)
