"""One state under a limit of places and a rate: its handler writes to the ledger when it begins, by the store's clock,
and when it ends."""

from __future__ import annotations

import asyncio

from holdfast import Limit, RunContext, Workflow
from tests.engine.crash.programs.world import World

WORK_S = 0.12

world = World.of_arguments()
wf = Workflow("limited", data=dict)


@wf.state("ask", start=True, to="done", limits=Limit("llm", places=3, rate="15/1s"))
async def ask(ctx: RunContext) -> None:
    world.ledger.add("begin", f"{ctx.ticket_id} {ctx.now_s()}")
    await asyncio.sleep(WORK_S)
    world.ledger.add("end", ctx.ticket_id)


wf.final("done")

if __name__ == "__main__":
    world.play(wf)
