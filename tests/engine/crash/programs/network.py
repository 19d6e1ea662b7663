"""A network of 5 layers of 5 agents as one state, each of which has an effect in the world; `holds` holds agents up.

With `holds=("fail-once",)` the agent 1-0, whose failure is put up with, fails in the first process that calls it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast import Agent, AgentCall, AgentExecutionCore, AgentNetwork, Engine, RunContext, Workflow
from tests.engine.crash.programs.world import World

LAYERS, WIDTH = 5, 5
world = World.of_arguments()
wf = Workflow("networked", data=dict)
cores: list[AgentExecutionCore] = []


def made(name: str) -> Agent:
    """An agent that leaves a line in the ledger, and gives one more than the sum of what it reads."""

    async def body(value: Any, call: AgentCall) -> int:
        is_first = not world.ledger.lines(name)
        await world.act(name, key=call.key)
        if name == "1-0" and "fail-once" in world.plan.holds and is_first:
            raise ConnectionError("away for once")
        return 1 + (sum(value.values()) if isinstance(value, dict) else int(value["number"]))

    return Agent(body, name=name)


network = AgentNetwork(
    "grid",
    [[made(f"{layer}-{number}") for number in range(WIDTH)] for layer in range(LAYERS)],
    on_failure={"1-0": "degrade"},
    fallbacks={"1-0": 1000},
)


@wf.state("work", start=True, to="done")
async def work(ctx: RunContext) -> None:
    found = await network.run_in(ctx, ctx.input, core=cores[0])
    ctx.data["results"] = dict(found.results)
    ctx.data["failures"] = dict(found.failures)


wf.final("done")


async def finish(engine: Engine) -> None:
    """Until the awaited runs have ended, with the core still open."""
    for number in range(world.plan.awaits):
        await (await engine.get(f"T-{number}", user="ana")).result()


async def main() -> None:
    async with AgentExecutionCore() as core:
        cores.append(core)
        await world.playing(wf, then=finish)


if __name__ == "__main__":
    asyncio.run(main())
