"""Every user's session, made when the user is first seen and ended when he has been idle; and what all of them share.

Sessions share nothing but the way in which agents are made, the bridge to users, and the bound on how many there are.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from holdfast.clock import Clock, Randomness, SystemClock, system_randomness
from holdfast.context import UserExecutionContext, require_context
from holdfast.errors import InvalidInput, Unavailable
from holdfast.logs import get_logger
from holdfast.names import check_id
from holdfast.tasks import Supervisor
from holdfast.users.cleaning import CLEANUP_TIMEOUT_S, AgentCleanupFailure
from holdfast.users.emitter import QUEUE_MAX, EventBridge, UserEmitter
from holdfast.users.rules import Idleness, UserKey, to_evict
from holdfast.users.seats import Seats
from holdfast.users.session import Factory, UserAgentSession
from holdfast.users.stream import UserStreams

SESSIONS_MAX = 10_000
IDLE_MAX_S = 900.0
PLACES, PLACES_PER_USER = 64, 3
QUEUE_PER_USER_MAX = 1000
WAIT_MAX_S = 300.0
EVICTED_AT_ONCE = 32
"""Sessions whose agents are cleaned up side by side."""

log = get_logger("holdfast.users")


class RegistryMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """All sessions in figures; the counts are of this process since it began. `full`: users turned away."""

    sessions: int
    busy: int
    agents: int
    calls: int
    made: int
    reused: int
    removed: int
    evicted: int
    full: int


class AgentRegistry:
    """Sessions of users by tenant and user; for one event loop. Another user's agents do not exist for whoever asks.

    `idle_max_s`: how long an idle session stays; `sessions_max` bounds them: beyond it the longest idle goes, and where
    all are busy a new user is turned away with Unavailable. `places`, `places_per_user`: calls at once, of all and of
    each.

    Example::

        registry = AgentRegistry(streams)
        registry.declare("triage", lambda context: Triage(context.user))
        agent = await registry.get(ana, "triage")
    """

    def __init__(
        self,
        streams: UserStreams,
        *,
        places: int = PLACES,
        places_per_user: int = PLACES_PER_USER,
        queue_per_user_max: int = QUEUE_PER_USER_MAX,
        wait_max_s: float = WAIT_MAX_S,
        sessions_max: int = SESSIONS_MAX,
        idle_max_s: float = IDLE_MAX_S,
        events_queue_max: int = QUEUE_MAX,
        cleanup_timeout_s: float = CLEANUP_TIMEOUT_S,
        clock: Clock | None = None,
        randomness: Randomness | None = None,
    ) -> None:
        if sessions_max < 1 or idle_max_s <= 0 or events_queue_max < 1:
            raise InvalidInput(
                "registry: expected sessions_max and events_queue_max of 1 or more and idle_max_s above 0, saw "
                f"{sessions_max}, {events_queue_max} and {idle_max_s}"
            )
        self.seats = Seats(
            places=places,
            places_per_user=places_per_user,
            queue_per_user_max=queue_per_user_max,
            wait_max_s=wait_max_s,
        )
        self._streams = streams
        self._sessions_max = sessions_max
        self._idle_max_s = idle_max_s
        self._events_queue_max = events_queue_max
        self._cleanup_timeout_s = cleanup_timeout_s
        self._clock = clock or SystemClock()
        self._randomness = randomness or system_randomness()
        self._tasks = Supervisor("registry", on_failure=_failed)
        self._sessions: OrderedDict[UserKey, UserAgentSession] = OrderedDict()
        self._factories: dict[str, Factory] = {}
        self._bridge: EventBridge | None = None
        self._counts: Counter[str] = Counter()
        self._is_closed = False

    def declare(self, name: str, factory: Factory) -> None:
        """Say how each user's agent of that name is made when it is first asked for. Raises InvalidInput if taken."""
        check_id("agent", name)
        if name in self._factories:
            raise InvalidInput(f"agent {name}: expected one factory, saw a second one")
        self._factories[name] = factory

    def session(self, context: UserExecutionContext) -> UserAgentSession:
        """The session of the context's user, made if there is none. Raises WrongContext, and Unavailable where all
        of `sessions_max` are busy."""
        require_context(context)
        key = (context.tenant, context.user)
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = self._new(key)
        self._sessions.move_to_end(key)
        session.touch()
        return session

    def find(self, context: UserExecutionContext) -> UserAgentSession | None:
        """The session of the context's user, None if there is none."""
        require_context(context)
        return self._sessions.get((context.tenant, context.user))

    def register(self, context: UserExecutionContext, name: str, agent: Any) -> None:
        """Have `agent` under `name` for the context's user. Raises InvalidInput for a name that is taken."""
        self.session(context).register(name, agent)

    async def get(self, context: UserExecutionContext, name: str) -> Any:
        """The user's agent of that name, made once if it is not there. Raises NotFound."""
        return await self.session(context).get(name, context)

    async def remove(self, context: UserExecutionContext, name: str) -> AgentCleanupFailure | None:
        """End the user's agent of that name; what its clean-up did not do. Raises NotFound."""
        return await self.session(context).remove(name)

    async def reset(self, context: UserExecutionContext) -> tuple[AgentCleanupFailure, ...]:
        """End all agents of the context's user; what their clean-ups did not do."""
        session = self.find(context)
        return () if session is None else await session.reset()

    @asynccontextmanager
    async def connection(self, context: UserExecutionContext) -> AsyncIterator[UserExecutionContext]:
        """A context for one connection (a WebSocket) of the context's user, cleaned up when the connection ends."""
        async with self.session(context).connection(context) as own:
            yield own

    def names(self, context: UserExecutionContext) -> tuple[str, ...]:
        """The agents that the context's user has at present, sorted."""
        session = self.find(context)
        return () if session is None else session.names()

    def set_bridge(self, bridge: EventBridge | None) -> None:
        """What reaches users where their stream is away: for all sessions, there and to come."""
        self._bridge = bridge
        for session in self._sessions.values():
            session.set_bridge(bridge)

    async def evict_idle(self, *, idle_max_s: float | None = None) -> int:
        """End sessions that are idle for `idle_max_s` (as configured); how many."""
        standings = [Idleness(key, each.idle_s, each.is_busy) for key, each in self._sessions.items()]
        bound = self._idle_max_s if idle_max_s is None else idle_max_s
        gone = to_evict(standings, idle_max_s=bound, sessions_max=self._sessions_max)
        return await self._evict(gone)

    async def drop(self, context: UserExecutionContext) -> tuple[AgentCleanupFailure, ...]:
        """End the session of the context's user; what clean-ups did not do. Raises Unavailable while it has calls."""
        session = self.find(context)
        if session is None:
            return ()
        if session.calls:
            raise Unavailable(f"session of {session.user}: {len(session.calls)} calls are under way; end them first")
        del self._sessions[session.key]
        return await session.reset()

    def let_go(self, session: UserAgentSession) -> None:
        """Forget a session whose agents were ended; what it still has under way ends on its own."""
        if self._sessions.get(session.key) is session:
            self._forget(session)

    def sessions(self) -> Iterator[UserAgentSession]:
        """All sessions, as they are now."""
        yield from tuple(self._sessions.values())

    def metrics(self) -> RegistryMetrics:
        """The figures now."""
        each = [session.metrics() for session in self._sessions.values()]
        return RegistryMetrics(
            sessions=len(self._sessions),
            busy=sum(session.is_busy for session in self._sessions.values()),
            agents=sum(metrics.agents for metrics in each),
            calls=sum(metrics.calls_running + metrics.calls_waiting for metrics in each),
            made=self._counts["made"] + sum(metrics.made for metrics in each),
            reused=self._counts["reused"] + sum(metrics.reused for metrics in each),
            removed=self._counts["removed"] + sum(metrics.removed for metrics in each),
            evicted=self._counts["evicted"],
            full=self._counts["full"],
        )

    async def close(self, *, grace_s: float = 5.0) -> list[str]:
        """Write what was emitted, end all agents, take nobody new; the names of clean-ups that would not end."""
        self._is_closed = True
        sessions = tuple(self._sessions.values())
        await asyncio.gather(*(session.emitter.flush(timeout_s=grace_s) for session in sessions))
        for session in sessions:
            if left := session.emitter.figures().waiting:
                log.error("events were not written", user=session.user, tenant=session.tenant, count=left)
        await self._evict(list(self._sessions))
        return await self._tasks.stop(grace_s=grace_s)

    def __len__(self) -> int:
        return len(self._sessions)

    def __repr__(self) -> str:
        return f"AgentRegistry(sessions={len(self._sessions)}, agents declared={len(self._factories)})"

    def _new(self, key: UserKey) -> UserAgentSession:
        if self._is_closed:
            raise Unavailable("registry: it is closed; open another")
        if len(self._sessions) >= self._sessions_max:
            self._make_room()
        session = UserAgentSession(
            key,
            factories=self._factories,
            own_places=self.seats.own(key),
            emitter=UserEmitter(
                key, self._streams, clock=self._clock, tasks=self._tasks, queue_max=self._events_queue_max
            ),
            clock=self._clock,
            randomness=self._randomness,
            tasks=self._tasks,
            cleanup_timeout_s=self._cleanup_timeout_s,
        )
        session.set_bridge(self._bridge)
        return session

    def _make_room(self) -> None:
        """Let the idle session go that was asked for longest ago; its agents are ended in the background."""
        idle = next((each for each in self._sessions.values() if not each.is_busy), None)
        if idle is None:
            self._counts["full"] += 1
            raise Unavailable(
                f"registry: all {self._sessions_max} sessions are busy; try again later, or raise sessions_max"
            )
        self._forget(idle)
        self._tasks.start(idle.reset(), name=f"evict {idle.user}")

    async def _evict(self, keys: list[UserKey]) -> int:
        gone = [self._sessions[key] for key in keys if key in self._sessions]
        for session in gone:
            self._forget(session)
        for start in range(0, len(gone), EVICTED_AT_ONCE):
            for failures in await asyncio.gather(
                *(session.reset() for session in gone[start : start + EVICTED_AT_ONCE])
            ):
                for failure in failures:
                    log.warning("clean-up failed", agent=failure.agent, reason=failure.reason)
        return len(gone)

    def _forget(self, session: UserAgentSession) -> None:
        metrics = session.metrics()
        self._counts.update(
            evicted=1, made=metrics.made, reused=metrics.reused, removed=metrics.removed + metrics.agents
        )
        del self._sessions[session.key]


def _failed(name: str, error: BaseException) -> None:
    log.warning("a task of users failed", task=name, error=repr(error))
