"""Many runs at once, each of three states; the world hears of every state whose entry was acknowledged."""

from __future__ import annotations

from holdfast import RunContext, Workflow
from tests.engine.crash.programs.world import World

STATES = ("one", "two", "three")

world = World.of_arguments()
wf = Workflow("crowd", data=dict)


async def work(ctx: RunContext) -> None:
    world.ledger.add("entered", f"{ctx.ticket_id} {ctx.state}")
    ctx.data[ctx.state] = await ctx.step("count", len, ctx.state)


for state, target in zip(STATES, (*STATES[1:], "done"), strict=True):
    wf.add_state(state, work, start=state == STATES[0], to=target)
wf.final("done")

if __name__ == "__main__":
    world.play(wf)
