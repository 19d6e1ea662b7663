"""Agents in layers: each begins when what it reads is there, and what one of them cannot do hurts whom it must.

Run in a state of a workflow, each agent is a durable step: a process that dies in the middle leaves what was finished
to the next one.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from holdfast.agents.agent import Agent
from holdfast.agents.call import AgentCall, Tools
from holdfast.agents.events import Emit
from holdfast.agents.execution import MESSAGE_CHARS_MAX, AgentExecutionCore
from holdfast.agents.rules import Link, Plan, Policy, Progress, plan
from holdfast.context import UserExecutionContext, require_context
from holdfast.errors import ErrorType, InvalidDefinition, WorkflowError
from holdfast.names import check_id
from holdfast.workflow import RunContext
from holdfast.workflow.decisions.failure import failure_of

INPUT = "input"
"""What the network itself was given, as the source of an edge."""
CONCURRENCY = 32
"""How many agents of one network run side by side unless said otherwise."""
TIMEOUT_S = 3600.0

Edge = tuple[str, str] | tuple[str, str, Policy]
Step = Callable[[str, Callable[..., Awaitable["Settled"]]], Awaitable["Settled"]]


class Settled(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one agent, as it is kept: its result, or the kind and words of its error."""

    result: Any = None
    error: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class NetworkResult:
    """What a network came to. `results` of the agents that finished; `failures`: the errors of those that failed, as
    "kind: words"; `skipped`: those that were not begun because of these, in order."""

    network: str
    results: Mapping[str, Any] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    last: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every agent finished."""
        return not self.failures and not self.skipped

    @property
    def output(self) -> Any:
        """What the last agents gave, those that nobody reads: of one its result, None where it has none; of several a
        dict by name."""
        if len(self.last) == 1:
            return self.results.get(self.last[0])
        return {name: self.results[name] for name in self.last if name in self.results}


class NetworkFailed(WorkflowError):
    """An agent failed whose failure fails its network. `partial` is the NetworkResult so far; the cause is what the
    agent raised, and says whether a retry can help."""

    partial: NetworkResult


class AgentNetwork:
    """Agents in `layers`, each of which reads what those before it gave.

    `edges` say who reads whom: pairs of names, or triples with a policy; without any, each layer reads all of the
    layer before. The source "input" is what the network was given; an agent without edges reads that. An agent that
    reads one source takes its result, of several a dict by name.

    What a failure does says the policy of the edge, or else of the agent (`on_failure`): "fail" the network, once what
    is under way has ended; "degrade": its readers take its fallback (`fallbacks`, None unless given); "skip" its
    readers. `concurrency`: how many run side by side. All have `timeout_s` seconds together.

    Example::

        network = AgentNetwork("spend", [[triage], [supervisor], [data, prices], [optimization]],
                               on_failure={"prices": "degrade"}, fallbacks={"prices": {}})
        result = await network.run(context, request, core=core)

    Raises InvalidDefinition: unknown agents, names that come twice, rings.
    """

    def __init__(
        self,
        name: str,
        layers: Sequence[Sequence[Agent]],
        edges: Sequence[Edge] | None = None,
        *,
        on_failure: Mapping[str, Policy] | None = None,
        fallbacks: Mapping[str, Any] | None = None,
        concurrency: int = CONCURRENCY,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.name = check_id("network", name)
        if "/" in name:
            raise InvalidDefinition(f'network {name}: expected a name without "/"')
        if concurrency < 1:
            raise InvalidDefinition(f"network {name}: expected a concurrency of 1 or more, saw {concurrency!r}")
        if not 0 < timeout_s < float("inf"):
            raise InvalidDefinition(f"network {name}: expected timeout_s above 0, saw {timeout_s!r}")
        agents: list[Agent] = [each for layer in layers for each in layer]
        if wrong := [each for each in agents if not _is_agent(each)]:
            raise InvalidDefinition(
                f"network {name}: expected Agents, saw {wrong[0]!r:.80}; wrap it: Agent(body, name=...)"
            )
        self.agents = {each.name: each for each in agents}
        if INPUT in self.agents:
            raise InvalidDefinition(f"network {name}: {INPUT!r} is what it was given; name the agent otherwise")
        policies = dict(on_failure or {})
        told = _between(layers) if edges is None else edges
        links = [_link(name, edge, policies) for edge in told]
        self._fallbacks = dict(fallbacks or {})
        if unknown := sorted(self._fallbacks.keys() - self.agents.keys()):
            raise InvalidDefinition(f"network {name}: a fallback for {', '.join(unknown)}, which it does not have")
        self._plan = plan(
            name, [each.name for each in agents], [link for link in links if link.source != INPUT], policies
        )
        self._reads = {
            each: tuple(link.source for link in links if link.target == each) or (INPUT,) for each in self._plan.order
        }
        if unknown := sorted({link.target for link in links} - self.agents.keys()):
            raise InvalidDefinition(f"network {name}: no agent {', '.join(unknown)}")
        self._places = concurrency
        self._timeout_s = timeout_s

    @property
    def plan(self) -> Plan:
        """Who comes after whom, and what a failure does."""
        return self._plan

    async def run(
        self,
        context: UserExecutionContext,
        value: object = None,
        *,
        core: AgentExecutionCore,
        emit: Emit | None = None,
        tools: Tools | None = None,
    ) -> NetworkResult:
        """What the agents came to, for `value` and on behalf of `context`. Events of the network (under its name:
        started, progress with each agent that ends, finished or failed) and of its agents go to `emit`.

        Raises NetworkFailed, DeadlineExceeded.
        """
        return await _NetworkRun(self, require_context(context), value, core, emit, tools, _at_once).go()

    async def run_in(
        self,
        ctx: RunContext,
        value: object = None,
        *,
        core: AgentExecutionCore,
        emit: Emit | None = None,
        tools: Tools | None = None,
        key: str | None = None,
    ) -> NetworkResult:
        """As `run`, in the handler of a state, each agent a step of its visit. What finished, and what failed and was
        put up with, is not run again by a retry or after a death; each agent has an idempotency key (`AgentCall.key`).
        A network that runs twice in one visit needs `key`."""
        name = self.name if key is None else f"{self.name}.{key}"

        async def step(agent: str, attempt: Callable[..., Awaitable[Settled]]) -> Settled:
            kept: Settled = await ctx.step(name, functools.partial(_plain, attempt), key=agent)
            return kept if kept.error else Settled(self.agents[agent].fit_output(kept.result))

        return await _NetworkRun(self, ctx.user, value, core, emit, tools, step).go()

    def handler(
        self,
        core: Callable[[], AgentExecutionCore],
        *,
        into: str,
        emit: Emit | None = None,
        tools: Tools | None = None,
    ) -> Callable[[RunContext], Awaitable[None]]:
        """A handler for a state that runs the network on the run's input, and puts `results`, `failures` and `skipped`
        under `into` of the run's data, a dict. `core` gives the core of this process."""

        async def handle(ctx: RunContext) -> None:
            found = await self.run_in(ctx, ctx.input, core=core(), emit=emit, tools=tools)
            ctx.data[into] = {
                "results": dict(found.results),
                "failures": dict(found.failures),
                "skipped": list(found.skipped),
            }

        handle.__name__ = handle.__qualname__ = self.name
        return handle

    def gather(self, agent: str, value: object, results: Mapping[str, Any]) -> Any:
        """What `agent` takes: of one source its result, of several a dict."""
        found = {
            source: value if source == INPUT else results.get(source, self._fallbacks.get(source))
            for source in self._reads[agent]
        }
        return next(iter(found.values())) if len(found) == 1 else found

    @property
    def places(self) -> int:
        """How many of its agents run side by side."""
        return self._places

    @property
    def timeout_s(self) -> float:
        """How long all of it may take."""
        return self._timeout_s

    def __repr__(self) -> str:
        return f"AgentNetwork({self.name!r}, {len(self.agents)} agents in {len(self._plan.layers)} layers)"


class _Failed(Exception):
    """An agent whose failure fails its network raised `error`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class _NetworkRun:
    """One run of a network."""

    def __init__(
        self,
        network: AgentNetwork,
        context: UserExecutionContext,
        value: object,
        core: AgentExecutionCore,
        emit: Emit | None,
        tools: Tools | None,
        step: Step,
    ) -> None:
        self._network, self._context, self._value = network, context, value
        self._core, self._emit, self._tools, self._step = core, emit, tools, step
        self._progress = Progress(network.plan)
        self._places = asyncio.Semaphore(network.places)
        self._results: dict[str, Any] = {}
        self._failures: dict[str, str] = {}
        self._fatal: Exception | None = None

    async def go(self) -> NetworkResult:
        """Run it, told from the first event to the last."""
        network = self._network
        outbox = self._core.outbox(self._emit)
        call = self._core.begin_call(self._context, network.name, outbox, timeout_s=network.timeout_s)
        call.tell("started", {"agents": len(network.agents), "layers": len(network.plan.layers)})
        try:
            async with call.deadline.bound(f"network {network.name}"):
                await self._all(call)
            result = self._so_far()
            if self._fatal is not None:
                raise self._failed(result) from self._fatal
        except BaseException as error:
            call.tell("failed", {"error": type(error).__name__, "message": str(error)[:MESSAGE_CHARS_MAX]})
            await call.drain()
            raise
        call.tell("finished", {"failed": len(result.failures), "skipped": len(result.skipped)})
        await call.drain()
        return result

    async def _all(self, call: AgentCall) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for agent in self._progress.begin():
                    group.create_task(self._one(agent, call, group))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _one(self, agent: str, call: AgentCall, group: asyncio.TaskGroup) -> None:
        async with self._places:
            if self._progress.fatal:
                return
            given = self._network.gather(agent, self._value, self._results)
            try:
                settled = await self._step(agent, functools.partial(self._attempt, agent, given))
            except _Failed as failed:
                self._fatal = self._fatal or failed.error
                settled = _settled(failed.error)
        if settled.error:
            self._failures[agent] = f"{settled.error}: {settled.message}"
        else:
            self._results[agent] = settled.result
        turn = self._progress.settle(agent, "failed" if settled.error else "finished")
        for name in (agent, *turn.skipped):
            became = self._progress.became
            call.tell(
                "progress",
                {"agent": name, "became": became[name], "done": len(became), "of": len(self._network.agents)},
            )
        for ready in turn.ready:
            group.create_task(self._one(ready, call, group))

    async def _attempt(self, agent: str, given: object, *, key: str = "") -> Settled:
        """One agent's call, as what is kept of it. A failure that the network puts up with is kept as well: what was
        built on it stays built on it."""
        try:
            result = await self._core.execute(
                self._context, self._network.agents[agent], given, emit=self._emit, tools=self._tools, key=key
            )
        except Exception as error:
            if self._network.plan.is_fatal(agent):
                raise _Failed(error) from error
            return _settled(error)
        return Settled(result)

    def _so_far(self) -> NetworkResult:
        plan, became = self._network.plan, self._progress.became
        return NetworkResult(
            self._network.name,
            {name: self._results[name] for name in plan.order if name in self._results},
            {name: self._failures[name] for name in plan.order if name in self._failures},
            tuple(name for name in plan.order if became.get(name) == "skipped"),
            tuple(name for name in plan.order if not plan.outputs[name]),
        )

    def _failed(self, partial: NetworkResult) -> NetworkFailed:
        assert self._fatal is not None
        first = self._progress.fatal[0]
        error = NetworkFailed(
            f"network {self._network.name}: agent {first} failed: {partial.failures[first]}; "
            f"{len(partial.results)} of {len(self._network.agents)} agents had finished",
            error_type=ErrorType(failure_of(self._fatal).error_type),
            agent=first,
            finished=list(partial.results),
        )
        error.partial = partial
        return error


async def _plain(attempt: Callable[..., Awaitable[Settled]], *, key: str) -> Settled:
    """What is kept of one agent's call, as JSON holds it. `key`: the step's."""
    settled = await attempt(key=key)
    dump = getattr(settled.result, "model_dump", None)
    return settled if dump is None else Settled(dump(mode="json"))


async def _at_once(agent: str, attempt: Callable[..., Awaitable[Settled]]) -> Settled:
    """A step of a network that runs on its own."""
    return await attempt()


def _settled(error: Exception) -> Settled:
    failure = failure_of(error)
    return Settled(error=failure.kind, message=failure.message[:MESSAGE_CHARS_MAX])


def _between(layers: Sequence[Sequence[Agent]]) -> list[Edge]:
    """Each layer reads all of the layer before."""
    pairs = itertools.pairwise(layers)
    return [(source.name, target.name) for before, after in pairs for source in before for target in after]


def _is_agent(value: object) -> bool:
    return isinstance(value, Agent)


def _link(name: str, edge: Edge, policies: Mapping[str, Policy]) -> Link:
    if len(edge) not in (2, 3):
        raise InvalidDefinition(
            f"network {name}: expected edges (source, target) or (source, target, policy), saw {edge!r}"
        )
    source, target = edge[0], edge[1]
    return Link(source, target, edge[2] if len(edge) == 3 else policies.get(source, "fail"))
