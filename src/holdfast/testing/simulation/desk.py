"""What a node has beside its engine: shared state, tools, streams of users, and agents in a network of two layers."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from holdfast.agents.agent import Agent
from holdfast.agents.call import AgentCall
from holdfast.agents.execution import AgentExecutionCore
from holdfast.agents.network import AgentNetwork
from holdfast.agents.tools.dispatcher import ToolDispatcher
from holdfast.agents.tools.tool import Tool
from holdfast.clock import Clock, Randomness
from holdfast.context import UserExecutionContext
from holdfast.state.manager import StateManager
from holdfast.store.contract.protocol import Store
from holdfast.testing.simulation.loop import Process, current_process
from holdfast.testing.simulation.world import World
from holdfast.users.stream import UserStreams
from holdfast.workflow.actors.steps import RunContext
from holdfast.workflow.model.definition import Retry
from holdfast.workflow.model.workflow import Workflow

TEAM = "team"
"""The workflow of which one state is a network."""
ORDER = "order"
"""The tool that everybody has."""
TOOL_TIMEOUT_S = 3.0
FALLBACK = 1000
EDGES = [("input", "look"), ("input", "ask"), ("look", "sum"), ("ask", "sum"), ("input", "sum")]
RETRY = Retry(attempts_max=5, first_s=0.2, cap_s=1.0)


class Desk:
    """On `store`, for one life of a node."""

    def __init__(self, world: World, store: Store, clock: Clock, chance: Randomness) -> None:
        self.state = StateManager(store, sweep_every=None, clock=clock, randomness=chance)
        self.tools = ToolDispatcher([_order(world)], store=store, clock=clock, randomness=chance)
        self.streams = UserStreams(store, clock=clock, randomness=chance)
        self.core = AgentExecutionCore(watches_loop=False, clock=clock, randomness=chance)
        self._exit = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for part in (self.state, self.streams, self.core):
            await self._exit.enter_async_context(part)
        self._exit.push_async_callback(self.tools.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exit.aclose()

    def __repr__(self) -> str:
        return f"Desk({self.state!r}, {self.tools!r}, {self.streams!r}, {self.core!r})"


class Desks:
    """The desk of each process that has one, for handlers to find their own. `met` counts what agents went through."""

    def __init__(self) -> None:
        self.met: Counter[str] = Counter()
        self._by_process: dict[Process | None, Desk] = {}

    def put(self, desk: Desk) -> None:
        """It is the running process's."""
        self._by_process[current_process.get()] = desk

    def core(self) -> AgentExecutionCore:
        """The running process's."""
        return self._by_process[current_process.get()].core

    def __repr__(self) -> str:
        return f"Desks({len(self._by_process)}, met={dict(self.met)})"


def team_workflow(world: World, desks: Desks) -> Workflow:
    """Two agents look, one of which may fail and is put up with; two read what they found, and use a tool."""
    network = AgentNetwork(
        "crew",
        [[_agent(world, desks, "look"), _agent(world, desks, "ask")], [_agent(world, desks, "sum")]],
        EDGES,
        on_failure={"ask": "degrade"},
        fallbacks={"ask": FALLBACK},
    )
    workflow = Workflow(TEAM, data=dict, retry=RETRY)

    async def work(ctx: RunContext) -> None:
        found = await network.run_in(ctx, ctx.ticket_id, core=desks.core())
        ctx.data["results"] = dict(found.results)
        ctx.data["failures"] = sorted(found.failures)
        desks.met["networks"] += 1
        desks.met["agents that failed"] += len(found.failures)

    workflow.add_state("work", work, start=True, to="end", timeout_s=20.0)
    workflow.final("end")
    return workflow


def expected_results(failures: list[str]) -> dict[str, int]:
    """What the agents of a network give where these failed and were put up with."""
    found = {name: 1 for name in ("look", "ask") if name not in failures}
    return found | {"sum": 1 + sum(found.get(name, FALLBACK) for name in ("look", "ask"))}


def is_silent(ticket: str) -> bool:
    """Whether the agent that asks gets no answer for this one, however often it asks."""
    return int(ticket.rpartition("-")[2]) % 3 == 2


def intended(user: str, ticket: str, agent: str) -> str:
    """The name of an agent's effect."""
    return f"{user}/{ticket}/crew/{agent}"


def ordered(user: str, number: str) -> str:
    """The name of a tool's effect."""
    return f"{user}/{ORDER}/{number}"


def _agent(world: World, desks: Desks, name: str) -> Agent:
    async def body(value: Any, call: AgentCall) -> int:
        found = value if isinstance(value, dict) else {"input": value}
        ticket = found.pop("input")
        if name == "ask" and is_silent(ticket):
            raise ConnectionError("nobody answers, whoever asks")
        await world.effect(intended(call.context.user, ticket, name), key=call.key)
        return 1 + sum(int(each) for each in found.values())

    return Agent(body, name=name)


def _order(world: World) -> Tool:
    async def order(number: str, context: UserExecutionContext, *, key: str) -> int:
        """Order something, once for each key; the receipt's number."""
        await world.effect(ordered(context.user, number), key=f"{context.user}/{key}")
        return world.receipt(f"{context.user}/{key}")

    return Tool(body=order, name=ORDER, description="Order something.", runs="loop", timeout_s=TOOL_TIMEOUT_S)
