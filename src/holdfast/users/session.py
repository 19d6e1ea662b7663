"""One user's agents while the user is there: made when first asked for, used again, ended when nobody needs them.

A session belongs to one user and refuses every other's context. It holds what is the user's alone: his agents, his
places, his events' emitter, his calls under way.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from holdfast.agents import Agent
from holdfast.clock import Clock, Randomness
from holdfast.context import UserExecutionContext, require_context
from holdfast.errors import InvalidInput, NotFound, Unavailable, WrongContext
from holdfast.ids import uuid7
from holdfast.logs import get_logger
from holdfast.names import check_id
from holdfast.resilience.traffic import Bulkhead
from holdfast.tasks import Supervisor
from holdfast.users.cleaning import CLEANUP_TIMEOUT_S, AgentCleanupFailure, clean_up
from holdfast.users.emitter import EventBridge, UserEmitter
from holdfast.users.rules import Standing, UserKey
from holdfast.users.seam import shared_parts

Factory = Callable[[UserExecutionContext], Any]
"""Makes an agent for the user of a context; may be async."""
AGENTS_MAX = 200
"""Agents in one session."""
CONNECTIONS_MAX = 200
"""Connections of one user that are open at once."""

log = get_logger("holdfast.users")


class SessionMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """One session in figures. `made`: agents that a factory made; `reused`: times that one was there already;
    `waited`: callers who waited for one that was being made. Events are counted by the emitter."""

    agents: int
    made: int
    reused: int
    waited: int
    removed: int
    calls_running: int
    calls_waiting: int
    connections: int
    live_contexts: int
    events_waiting: int
    events_written: int
    events_dropped: int
    events_bridged: int
    bytes_waiting: int
    idle_s: float


class RunningCall:
    """One call under way. `stopped`: why somebody else ended it; empty while nobody did."""

    __slots__ = ("agent", "began_s", "context", "is_running", "stopped", "task")

    def __init__(self, context: UserExecutionContext, agent: str, began_s: float) -> None:
        self.context = context
        self.agent = agent
        self.began_s = began_s
        self.is_running = False
        self.task: asyncio.Task[Any] | None = None
        self.stopped = ""


class UserAgentSession:
    """The agents of one user. Made by an `AgentRegistry`; for one event loop.

    Example::

        session = registry.session(ana)
        session.register("triage", Triage())
        agent = await session.get("triage")
    """

    def __init__(
        self,
        key: UserKey,
        *,
        factories: Mapping[str, Factory],
        own_places: Bulkhead,
        emitter: UserEmitter,
        clock: Clock,
        randomness: Randomness,
        tasks: Supervisor,
        cleanup_timeout_s: float = CLEANUP_TIMEOUT_S,
    ) -> None:
        self.key = key
        self.own_places = own_places
        self.emitter = emitter
        self.calls: dict[int, RunningCall] = {}
        self.told: tuple[str, type[Exception]] | None = None
        self.told_s = 0.0
        self._factories = factories
        self._clock = clock
        self._randomness = randomness
        self._tasks = tasks
        self._cleanup_timeout_s = cleanup_timeout_s
        self._agents: dict[str, Any] = {}
        self._definitions: dict[str, Agent] = {}
        self._making: dict[str, asyncio.Task[Any]] = {}
        self._connections: dict[int, UserExecutionContext] = {}
        self._contexts: weakref.WeakValueDictionary[int, UserExecutionContext] = weakref.WeakValueDictionary()
        self._counts: Counter[str] = Counter()
        self._used_s = clock.time_s()

    @property
    def user(self) -> str:
        return self.key[1]

    @property
    def tenant(self) -> str:
        return self.key[0]

    @property
    def is_busy(self) -> bool:
        """Whether a call is under way, a connection is open, an agent is being made, or an event waits to be
        written."""
        return bool(self.calls or self._connections or self._making or self.emitter.figures().waiting)

    @property
    def idle_s(self) -> float:
        """Seconds since it was last used."""
        return self._clock.time_s() - self._used_s

    def context(
        self, *, thread: str = "", run: str = "", request: str = "", deadline_s: float | None = None
    ) -> UserExecutionContext:
        """A context of the session's user, with a request id of its own unless one is given."""
        return self._watched(
            UserExecutionContext(
                user=self.user,
                tenant=self.tenant,
                thread=thread,
                run=run,
                request=request or uuid7(self._clock, self._randomness),
                deadline_s=deadline_s,
            )
        )

    @asynccontextmanager
    async def connection(self, context: UserExecutionContext | None = None) -> AsyncIterator[UserExecutionContext]:
        """A context for one connection (a WebSocket), narrower than `context`, with a request id of its own. It is
        cleaned up when the connection ends; until then the session is busy, and stays. Raises WrongContext."""
        if len(self._connections) >= CONNECTIONS_MAX:
            raise Unavailable(
                f"connections of {self.user}: expected at most {CONNECTIONS_MAX} at once, saw one more; close some"
            )
        own = self._watched(self.check(context).child(request=uuid7(self._clock, self._randomness)))
        self._connections[id(own)] = own
        try:
            yield own
        finally:
            del self._connections[id(own)]
            self.touch()
            for failure in await own.cleanup():
                log.warning("clean-up of a connection failed", name=failure.name, reason=failure.reason)

    async def close_connections(self) -> int:
        """End the contexts of all connections, so that what is done for them is refused from now on; how many."""
        contexts = tuple(self._connections.values())
        await asyncio.gather(*(context.cleanup() for context in contexts))
        return len(contexts)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    @property
    def live_contexts(self) -> int:
        """Contexts of this session that somebody still holds and nobody has cleaned up."""
        return sum(not context.is_closed for context in self._contexts.values())

    def check(self, context: UserExecutionContext | None) -> UserExecutionContext:
        """`context` if it is of the session's user, one derived from the user for None. Raises WrongContext, which
        names nobody else."""
        if context is None:
            return self.context()
        require_context(context)
        if (context.tenant, context.user) != self.key:
            raise WrongContext(f"session of {self.user}: expected a context of its user, saw another user's")
        return context

    def register(self, name: str, agent: Any) -> None:
        """Have `agent` under `name`. Raises InvalidInput for a name that is taken: `remove` it first."""
        check_id("agent", name)
        if name in self._agents or name in self._making:
            raise InvalidInput(f"agent {name} of {self.user}: expected a free name, saw it taken; remove it first")
        if len(self._agents) >= AGENTS_MAX:
            raise InvalidInput(f"agents of {self.user}: expected at most {AGENTS_MAX}, saw one more; remove some")
        self.touch()
        self._agents[name] = agent

    async def get(self, name: str, context: UserExecutionContext | None = None) -> Any:
        """The agent of that name, made by its factory if it is not there: once, however many ask at the same time.
        Raises NotFound, which names this user's agents only, and what the factory raises."""
        self.check(context)
        self.touch()
        if name in self._agents:
            self._counts["reused"] += 1
            return self._agents[name]
        making = self._making.get(name)
        if making is None:
            making = self._begin_making(name)
        else:
            self._counts["waited"] += 1
        # Shielded: of many who wait, one who gives up must not take the agent from the others.
        await asyncio.wait([making])
        if making.cancelled():
            raise Unavailable(f"agent {name} of {self.user}: the session was reset while it was made; ask again")
        return making.result()

    def definition(self, name: str, agent: Any) -> Agent:
        """`agent`, which is the user's under `name`, as a core takes it: itself, or a definition around it."""
        if isinstance(agent, Agent):
            return agent
        known = self._definitions.get(name)
        if known is None or known.body is not agent:
            known = self._definitions[name] = Agent(agent, name=name)
        return known

    async def remove(self, name: str) -> AgentCleanupFailure | None:
        """End the agent of that name and forget it; what its clean-up did not do. Raises NotFound."""
        if name not in self._agents:
            raise self._no_agent(name)
        self.touch()
        self._counts["removed"] += 1
        self._definitions.pop(name, None)
        return await clean_up(self._agents.pop(name), name=name, tasks=self._tasks, timeout_s=self._cleanup_timeout_s)

    async def reset(self) -> tuple[AgentCleanupFailure, ...]:
        """End all agents and forget them; what clean-ups did not do. The session goes on, as if new. All at once, so
        it takes no longer than the slowest, which is bounded."""
        self.touch()
        making, self._making = self._making, {}
        for task in making.values():
            task.cancel()
        agents, self._agents, self._definitions = self._agents, {}, {}
        self._counts["removed"] += len(agents)
        failures = await asyncio.gather(
            *(
                clean_up(agent, name=name, tasks=self._tasks, timeout_s=self._cleanup_timeout_s)
                for name, agent in reversed(agents.items())
            )
        )
        return tuple(failure for failure in failures if failure is not None)

    def names(self) -> tuple[str, ...]:
        """The agents that are there, sorted."""
        return tuple(sorted(self._agents))

    def emit(self, context: UserExecutionContext | None, name: str, data: Any = None) -> int:
        """Put an event on its way into the user's stream, without waiting; its encoded size. Raises InvalidInput."""
        return self.emitter.emit(self.check(context), name, data)

    def set_bridge(self, bridge: EventBridge | None) -> None:
        """What reaches the user where his stream is away."""
        self.emitter.bridge = bridge

    def begin(self, context: UserExecutionContext, agent: str) -> RunningCall:
        """Note a call; `end` it."""
        self.touch()
        call = RunningCall(self._watched(self.check(context)), agent, self._clock.time_s())
        self.calls[id(call)] = call
        return call

    def end(self, call: RunningCall) -> None:
        """The call is over."""
        del self.calls[id(call)]
        self.touch()

    def touch(self) -> None:
        """It is used now."""
        self._used_s = self._clock.time_s()

    def metrics(self) -> SessionMetrics:
        """The figures now."""
        figures, running = self.emitter.figures(), sum(call.is_running for call in self.calls.values())
        return SessionMetrics(
            agents=len(self._agents),
            made=self._counts["made"],
            reused=self._counts["reused"],
            waited=self._counts["waited"],
            removed=self._counts["removed"],
            calls_running=running,
            calls_waiting=len(self.calls) - running,
            connections=self.connections,
            live_contexts=self.live_contexts,
            events_waiting=figures.waiting,
            events_written=figures.written,
            events_dropped=figures.dropped,
            events_bridged=figures.bridged,
            bytes_waiting=figures.bytes,
            idle_s=self.idle_s,
        )

    def standing(self) -> Standing:
        """What is in it, for the check of isolation."""
        own = {"emitter": id(self.emitter), "places": id(self.own_places), "agents": id(self._agents)}
        parts = {name: shared_parts(agent) for name, agent in self._agents.items()}
        own |= {f"agent {name}": id(part) for name, part in parts.items() if not _is_stateless(part)}
        carried = [call.context for call in self.calls.values()] + list(self._connections.values())
        return Standing(
            key=self.key,
            parts=own,
            contexts=tuple((context.tenant, context.user) for context in carried),
            streams=tuple(sorted(self.emitter.streams_held())),
            closed_contexts=sum(context.is_closed for context in carried),
        )

    def __repr__(self) -> str:
        return (
            f"UserAgentSession({self.user!r} of {self.tenant!r}, agents={len(self._agents)}, calls={len(self.calls)})"
        )

    def _watched(self, context: UserExecutionContext) -> UserExecutionContext:
        """`context`, counted for as long as somebody holds it. By identity: equal ones are two."""
        self._contexts[id(context)] = context
        return context

    def _begin_making(self, name: str) -> asyncio.Task[Any]:
        factory = self._factories.get(name)
        if factory is None:
            raise self._no_agent(name)
        if len(self._agents) + len(self._making) >= AGENTS_MAX:
            raise InvalidInput(f"agents of {self.user}: expected at most {AGENTS_MAX}, saw one more; remove some")
        making = self._making[name] = self._tasks.start(self._make(name, factory), name=f"make {name}")
        return making

    async def _make(self, name: str, factory: Factory) -> Any:
        """The agent, for a context of the session's own: it outlives the request for which it is made."""
        me = asyncio.current_task()
        try:
            made = factory(self.context())
            agent = await made if isinstance(made, Awaitable) else made
            if self._making.get(name) is not me:
                raise Unavailable(f"agent {name} of {self.user}: the session was reset while it was made; ask again")
            self._agents[name] = agent
            self._counts["made"] += 1
            return agent
        finally:
            if self._making.get(name) is me:
                del self._making[name]

    def _no_agent(self, name: str) -> NotFound:
        known = sorted({*self._agents, *self._factories})
        return NotFound(
            f"agent {name!s:.80} of {self.user}: expected one of {', '.join(known) or 'none, as none is registered'}; "
            "register it, or declare a factory for it",
            agent=name,
            known=known,
        )


def _is_stateless(agent: Any) -> bool:
    """Whether one object may serve several users: a plain function, or a frozen dataclass."""
    parameters = getattr(type(agent), "__dataclass_params__", None)
    return (inspect.isroutine(agent) and not inspect.ismethod(agent)) or (
        dataclasses.is_dataclass(agent) and parameters is not None and parameters.frozen
    )
