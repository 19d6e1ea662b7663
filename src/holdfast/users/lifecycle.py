"""Keeps memory within its marks and ends what must end: agents, calls and sessions, of one user or of all.

Python tells nobody what one user's objects weigh. So what is accounted is what we own: encoded bytes that wait, calls,
agents, handles; and what decides is the resident memory of the process. From the soft mark on nobody new is admitted
and who is idle goes; from the hard mark on what runs is drained: it may finish for a while, and is then stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from holdfast.clock import Clock, SystemClock
from holdfast.context import UserExecutionContext, require_context
from holdfast.errors import HoldfastError, InvalidInput, Unavailable
from holdfast.logs import get_logger
from holdfast.users.cleaning import AgentCleanupFailure
from holdfast.users.memory import rss_bytes
from holdfast.users.registry import AgentRegistry
from holdfast.users.rules import Pressure, UserKey, Watermarks, pressure_of
from holdfast.users.session import UserAgentSession

CHECK_S = 1.0
DRAIN_S = 10.0
"""How long what runs may go on once memory is past the hard mark."""
STOP_GRACE_S = 2.0
"""How long a call that was cancelled may take to end."""

log = get_logger("holdfast.users")


class UserAccount(msgspec.Struct, frozen=True, kw_only=True):
    """What one user has in this process, by what we own of it. `bytes_waiting`: encoded events on their way;
    `contexts`: those that somebody holds; `handles`: open connections, and what `handles=` counts."""

    user: str
    tenant: str
    agents: int
    contexts: int
    events_waiting: int
    bytes_waiting: int
    handles: int
    idle_s: float


class MemoryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The process' memory and what is accounted of it. `is_admitting`: whether new work is taken."""

    rss_bytes: int
    pressure: Pressure
    is_admitting: bool
    users: int
    agents: int
    contexts: int
    bytes_waiting: int
    evicted: int
    drained: int


class EmergencyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an emergency clean-up did. `stuck`: calls that were cancelled and go on all the same, as "user: agent"."""

    users: int
    calls_stopped: int
    agents_ended: int
    failures: tuple[AgentCleanupFailure, ...]
    stuck: tuple[str, ...]


class AgentLifecycleManager:
    """Looks after the sessions of `registry`. `soft_bytes` and `hard_bytes`: marks of the process' resident memory,
    None for one that is never reached; what is past the hard one for `drain_s` is stopped. `handles`: how many open
    things a user has elsewhere (files, connections), if anybody counts them; `rss`: how memory is measured.

    Example::

        lifecycle = AgentLifecycleManager(registry, soft_bytes=1 << 30)
        report = await lifecycle.emergency_clean_up(ana)
    """

    def __init__(
        self,
        registry: AgentRegistry,
        *,
        soft_bytes: int | None = None,
        hard_bytes: int | None = None,
        rss: Callable[[], int] = rss_bytes,
        handles: Callable[[UserKey], int] = lambda key: 0,
        clock: Clock | None = None,
        drain_s: float = DRAIN_S,
        stop_grace_s: float = STOP_GRACE_S,
    ) -> None:
        if drain_s < 0 or stop_grace_s <= 0:
            raise InvalidInput(
                f"lifecycle: expected drain_s of 0 or more and stop_grace_s above 0, saw {drain_s} and {stop_grace_s}"
            )
        self._registry = registry
        self._marks = Watermarks(soft_bytes=soft_bytes, hard_bytes=hard_bytes)
        self._rss = rss
        self._handles = handles
        self._clock = clock or SystemClock()
        self._drain_s = drain_s
        self._stop_grace_s = stop_grace_s
        self._pressure: Pressure = "calm"
        self._hard_since_s: float | None = None
        self._evicted = 0
        self._drained = 0

    @property
    def pressure(self) -> Pressure:
        """How short memory was at the last look."""
        return self._pressure

    def admit(self, context: UserExecutionContext) -> None:
        """Raises Unavailable while memory is short."""
        require_context(context)
        if self._pressure != "calm":
            raise Unavailable(
                f"work of {context.user}: memory is short at the moment, so nothing new is begun; try again later",
                pressure=self._pressure,
            )

    def account(self, context: UserExecutionContext) -> UserAccount:
        """What the context's user has in this process."""
        require_context(context)
        key = (context.tenant, context.user)
        return _account(key, self._registry.find(context), self._handles(key))

    def accounts(self) -> list[UserAccount]:
        """Every user's, those with the most first: encoded bytes, then calls. For operators."""
        found = [_account(each.key, each, self._handles(each.key)) for each in self._registry.sessions()]
        return sorted(found, key=lambda one: (-one.bytes_waiting, -one.contexts, -one.agents, one.tenant, one.user))

    def status(self) -> MemoryStatus:
        """The memory now, and what is accounted of it."""
        accounts = self.accounts()
        return MemoryStatus(
            rss_bytes=self._rss(),
            pressure=self._pressure,
            is_admitting=self._pressure == "calm",
            users=len(accounts),
            agents=sum(each.agents for each in accounts),
            contexts=sum(each.contexts for each in accounts),
            bytes_waiting=sum(each.bytes_waiting for each in accounts),
            evicted=self._evicted,
            drained=self._drained,
        )

    async def look(self) -> Pressure:
        """Measure once and do what the marks say; how short memory is."""
        before, now_s = self._pressure, self._clock.time_s()
        self._pressure = pressure_of(self._rss(), self._marks, before)
        if self._pressure != before:
            log.warning("memory", pressure=self._pressure, rss_bytes=self._rss())
        self._hard_since_s = (self._hard_since_s or now_s) if self._pressure == "hard" else None
        idle_max_s = None if self._pressure == "calm" else 0.0
        self._evicted += await self._registry.evict_idle(idle_max_s=idle_max_s)
        if self._hard_since_s is not None and now_s - self._hard_since_s >= self._drain_s:
            report = await self.emergency_clean_up_all()
            self._drained += report.calls_stopped
        return self._pressure

    async def keep(self, *, check_s: float = CHECK_S) -> None:
        """Look again and again, for ever."""
        while True:
            try:
                await self.look()
            except HoldfastError as error:
                log.error("memory was not looked after", error=error.message)
            await self._clock.sleep(check_s)

    async def clean_up(self, context: UserExecutionContext, agent: str) -> AgentCleanupFailure | None:
        """End one agent of the context's user; what its clean-up did not do. Raises NotFound."""
        return await self._registry.remove(context, agent)

    async def emergency_clean_up(self, context: UserExecutionContext) -> EmergencyReport:
        """Stop all calls of the context's user, end all his agents, drop his session. Nobody else notices."""
        session = self._registry.find(context)
        return await self._clean(() if session is None else (session,))

    async def emergency_clean_up_all(self) -> EmergencyReport:
        """Stop all calls of all users, end all agents, drop all sessions. For operators and the hard mark."""
        return await self._clean(tuple(self._registry.sessions()))

    def __repr__(self) -> str:
        return f"AgentLifecycleManager({self._pressure}, {self._registry!r})"

    async def _clean(self, sessions: Iterable[UserAgentSession]) -> EmergencyReport:
        sessions = tuple(sessions)
        calls = [(session, call) for session in sessions for call in session.calls.values()]
        tasks = [call.task for _, call in calls if call.task is not None]
        for _, call in calls:
            call.stopped = "an emergency clean-up"
            if call.task is not None:
                call.task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=self._stop_grace_s)
        stuck = [
            f"{session.user}: {call.agent}" for session, call in calls if call.task is not None and not call.task.done()
        ]
        agents = sum(len(session.names()) for session in sessions)
        failures = await asyncio.gather(*(session.reset() for session in sessions))
        for session in sessions:
            self._registry.let_go(session)
        return EmergencyReport(
            users=len(sessions),
            calls_stopped=len(calls) - len(stuck),
            agents_ended=agents,
            failures=tuple(failure for each in failures for failure in each),
            stuck=tuple(stuck),
        )


def _account(key: UserKey, session: UserAgentSession | None, handles: int) -> UserAccount:
    metrics = None if session is None else session.metrics()
    return UserAccount(
        tenant=key[0],
        user=key[1],
        agents=0 if metrics is None else metrics.agents,
        contexts=0 if metrics is None else metrics.live_contexts,
        events_waiting=0 if metrics is None else metrics.events_waiting,
        bytes_waiting=0 if metrics is None else metrics.bytes_waiting,
        handles=handles + (0 if metrics is None else metrics.connections),
        idle_s=0.0 if metrics is None else metrics.idle_s,
    )
