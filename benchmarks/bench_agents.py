"""Agents: what one call costs over a bare await, and what an agent of a network costs beside an `asyncio.gather`.

The body returns what it is given. CPU time of the loop's thread, so that the machine's other work counts little; the
watchdog's thread, which looks ten times a second, is not in it. A network is 5 layers of 5, each agent reading the
whole layer before; beside it the same bodies in 5 gathers, and the same network as durable steps on a store in memory.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
from collections.abc import Awaitable, Callable
from time import thread_time
from typing import Any

import msgspec

from benchmarks.harness import compare, options, publish
from holdfast import (
    Agent,
    AgentEvent,
    AgentExecutionCore,
    AgentNetwork,
    Engine,
    RunContext,
    UserExecutionContext,
    Workflow,
)

TURNS = 5
LAYERS, WIDTH = 5, 5
ANA = UserExecutionContext(user="ana")

Call = Callable[[], Awaitable[object]]


class Note(msgspec.Struct):
    """A typed value."""

    text: str
    numbers: list[int]


NOTE = Note("hello", [1, 2, 3])


async def bare(value: Any) -> Any:
    """The body."""
    return value


async def typed(value: Note) -> Note:
    """The body with a type."""
    return value


def plain(value: Any) -> Any:
    """The body without await."""
    return value


async def _receive(event: AgentEvent) -> None:
    """An async receiver of events."""


def seen(event: AgentEvent) -> None:
    """A receiver of events."""


def one_call(agent: Agent, value: object, **how: Any) -> Callable[[AgentExecutionCore], Call]:
    """A call of `agent` by a core."""
    return lambda core: lambda: core.execute(ANA, agent, value, **how)


CALLS: dict[str, Callable[[AgentExecutionCore], Call]] = {
    "holdfast": one_call(Agent(bare), 1),
    "holdfast, typed": one_call(Agent(typed), NOTE),
    "holdfast, typed, events": one_call(Agent(typed), NOTE, emit=seen),
    "holdfast, typed, async events": one_call(Agent(typed), NOTE, emit=_receive),
    "holdfast, in a thread": one_call(Agent(plain), 1),
    "a task and a timeout": lambda core: _in_a_task,
}


async def _in_a_task() -> None:
    """What nobody can do without who wants to go on in time."""
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(bare(1))


NETWORK = AgentNetwork(
    "net", [[Agent(bare, name=f"{layer}-{number}") for number in range(WIDTH)] for layer in range(LAYERS)]
)


async def by_gather() -> None:
    """The bodies of the network, layer by layer."""
    value: Any = 1
    for layer in range(LAYERS):
        value = await asyncio.gather(*(bare(value if not layer else 1) for _ in range(WIDTH)))


def us_of(make: Callable[[AgentExecutionCore], Call], calls: int, *, parts: int = 1) -> float:
    """CPU microseconds of one call over a bare await, the middle of a few turns; `parts`: of a part of it."""

    async def measure() -> float:
        async with AgentExecutionCore() as core:
            call = make(core)
            await _spent(call, 10)
            return statistics.median([await _spent(call, calls) - await _spent(_nothing, calls) for _ in range(TURNS)])

    gc.collect()
    gc.disable()
    try:
        return asyncio.run(measure()) / calls / parts * 1e6
    finally:
        gc.enable()


def us_durable(runs: int) -> float:
    """CPU microseconds of one agent of the network as durable steps, engine and all."""

    async def measure() -> float:
        wf = Workflow("networked", data=dict)
        async with AgentExecutionCore() as core:

            @wf.state("work", start=True, to="done")
            async def work(ctx: RunContext) -> None:
                await NETWORK.run_in(ctx, 1, core=core)

            wf.final("done")
            async with Engine("memory:", wf) as engine:
                began = thread_time()
                for number in range(runs):
                    await (await engine.start("networked", {}, id=f"T-{number}", user="ana")).result()
                return thread_time() - began

    return asyncio.run(measure()) / runs / (LAYERS * WIDTH) * 1e6


async def _nothing() -> None:
    """A bare await."""


async def _spent(call: Call, calls: int) -> float:
    began = thread_time()
    for _ in range(calls):
        await call()
    return thread_time() - began


def main() -> None:
    """Measure and print."""
    chosen = options(__doc__ or "", rounds=9)
    calls, runs = (100, 5) if chosen.quick else (1000, 50)
    one = compare(
        "one call of an agent that does nothing, over a bare await",
        {name: lambda make=make: us_of(make, calls) for name, make in CALLS.items()},
        unit="us of CPU per call",
        better="less",
        rounds=chosen.rounds,
    )
    many = compare(
        f"one agent of a network of {LAYERS * WIDTH}",
        {
            "holdfast": lambda: us_of(lambda core: lambda: NETWORK.run(ANA, 1, core=core), runs, parts=LAYERS * WIDTH),
            "holdfast, durable steps in memory": lambda: us_durable(runs),
            "asyncio.gather": lambda: us_of(lambda core: by_gather, runs, parts=LAYERS * WIDTH),
        },
        unit="us of CPU per agent",
        better="less",
        rounds=chosen.rounds,
    )
    publish("agents", [one, many], chosen)


if __name__ == "__main__":
    sys.exit(main())
