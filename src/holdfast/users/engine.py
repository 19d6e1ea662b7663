"""Runs agents for many users, so that none is in another's way: places in turns, quotas, memory, and plain words.

One call passes in this order: the context, memory, the user's quota, a place of his own, a place of all, the agent.
What it tells goes into the user's stream; what goes wrong is told to him in words, and raised to whoever called.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from holdfast.agents import AgentExecutionCore
from holdfast.agents.tools import ToolDispatcher
from holdfast.clock import Clock, Randomness, SystemClock, system_randomness
from holdfast.context import UserExecutionContext, require_context
from holdfast.errors import (
    BulkheadFull,
    DeadlineExceeded,
    ErrorType,
    InvalidInput,
    QuotaExceeded,
    Unavailable,
    WorkflowError,
)
from holdfast.ids import uuid7
from holdfast.logs import get_logger
from holdfast.resilience.traffic import Deadline
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Position
from holdfast.store.open import open_store
from holdfast.tasks import Supervisor
from holdfast.users.emitter import EventBridge
from holdfast.users.figures import ExecutionStatistics, IsolationStatus, Outcome, Tally
from holdfast.users.ledger import UsageLedger
from holdfast.users.lifecycle import CHECK_S, AgentLifecycleManager
from holdfast.users.memory import rss_bytes
from holdfast.users.quota import Measure, UserQuota
from holdfast.users.registry import (
    IDLE_MAX_S,
    PLACES,
    PLACES_PER_USER,
    QUEUE_PER_USER_MAX,
    SESSIONS_MAX,
    WAIT_MAX_S,
    AgentRegistry,
)
from holdfast.users.rules import UserKey, violations
from holdfast.users.seam import CallEvent, Core, told_as
from holdfast.users.session import RunningCall, UserAgentSession
from holdfast.users.stream import StreamReader, UserStreams
from holdfast.users.words import NOTIFICATION, notification_of

TIMEOUT_S = 300.0
CORE_GRACE_S = 1.0
"""How much longer than its deadline a call may take until the engine itself ends it: the core is to do that."""
TALLIES_MAX = 10_000
"""Users whose figures are kept; beyond it those of who was not here for longest go."""
PIPELINE_MAX = 50
TELL_AGAIN_S = 1.0

log = get_logger("holdfast.users")


class ExecutionEngine:
    """Agents of many users over one store (or its URL, then opened and closed here). Use it as `async with`.

    `core` runs one call: an `AgentExecutionCore` of its own unless given, for which what is no `Agent` is wrapped.
    `tools`: what agents may call, for each user by his scopes. `places` calls of all users run at once,
    `places_per_user` of each, whose further ones wait, up to `queue_per_user_max` and for at most `wait_max_s`.
    `timeout_s`: what a call is given unless its context or caller gives less. `quota` is every user's, `quotas` those
    of some by (tenant, user). `memory_soft_bytes` and `memory_hard_bytes`: the marks of `AgentLifecycleManager`. Errors
    of a call: those of its agent, QuotaExceeded, BulkheadFull, DeadlineExceeded, NotFound, and Unavailable while memory
    is short.

    Example::

        async with ExecutionEngine("sqlite:///agents.db", quota=UserQuota(starts=500)) as engine:
            engine.registry.declare("triage", lambda context: Triage())
            cause = await engine.run(ana, "triage", ticket)
    """

    def __init__(
        self,
        store: Store | str,
        core: Core | None = None,
        *,
        tools: ToolDispatcher | None = None,
        places: int = PLACES,
        places_per_user: int = PLACES_PER_USER,
        queue_per_user_max: int = QUEUE_PER_USER_MAX,
        wait_max_s: float = WAIT_MAX_S,
        timeout_s: float = TIMEOUT_S,
        quota: UserQuota | None = None,
        quotas: Mapping[UserKey, UserQuota] | None = None,
        memory_soft_bytes: int | None = None,
        memory_hard_bytes: int | None = None,
        sessions_max: int = SESSIONS_MAX,
        idle_max_s: float = IDLE_MAX_S,
        bridge: EventBridge | None = None,
        core_grace_s: float = CORE_GRACE_S,
        check_s: float = CHECK_S,
        rss: Callable[[], int] = rss_bytes,
        clock: Clock | None = None,
        randomness: Randomness | None = None,
    ) -> None:
        _check_times(timeout_s, core_grace_s, check_s)
        self._clock = clock or SystemClock()
        self._randomness = randomness or system_randomness()
        self._owns_store = isinstance(store, str)
        self.store: Store = open_store(store, clock=clock) if isinstance(store, str) else store
        self._own_core = AgentExecutionCore(clock=self._clock) if core is None else None
        self._core: Core = core or self._own_core  # type: ignore[assignment]
        self._tools = tools
        self._timeout_s = timeout_s
        self._core_grace_s = core_grace_s
        self._check_s = check_s
        self._tasks = Supervisor("users", on_failure=_failed)
        self._calls = Supervisor("calls", on_failure=lambda name, error: None)  # a call's failure is its caller's
        self._total = Tally()
        self._tallies: OrderedDict[UserKey, Tally] = OrderedDict()
        self.streams = UserStreams(self.store, clock=self._clock, randomness=self._randomness)
        self.registry = AgentRegistry(
            self.streams,
            places=places,
            places_per_user=places_per_user,
            queue_per_user_max=queue_per_user_max,
            wait_max_s=wait_max_s,
            sessions_max=sessions_max,
            idle_max_s=idle_max_s,
            clock=self._clock,
            randomness=self._randomness,
        )
        self.registry.set_bridge(bridge)
        self.lifecycle = AgentLifecycleManager(
            self.registry, soft_bytes=memory_soft_bytes, hard_bytes=memory_hard_bytes, rss=rss, clock=self._clock
        )
        self.usage = UsageLedger(
            self.store, quota, quotas=quotas, clock=self._clock, randomness=self._randomness, tasks=self._tasks
        )

    async def run(
        self, context: UserExecutionContext, agent: str, value: Any = None, *, timeout_s: float | None = None
    ) -> Any:
        """The output of the user's agent for `value`, within `timeout_s` seconds (and the context's deadline), waiting
        for a place included. What it raises, the user is told in words, too."""
        require_context(context)
        if timeout_s is not None and not 0 < timeout_s < float("inf"):
            raise InvalidInput(f"agent {agent}: expected a timeout_s above 0, saw {timeout_s!r}")
        given_s = min(self._timeout_s, timeout_s or self._timeout_s)
        now_s = self._clock.time_s()
        request = context.request or uuid7(self._clock, self._randomness)
        child = context.child(request=request, deadline_s=now_s + given_s)
        self.lifecycle.admit(context)
        session = self.registry.session(context)
        call = session.begin(child, agent)
        tally = self._tally(session.key)
        outcome: Outcome = "failed"
        try:
            result = await self._attended(session, call, value)
            outcome = "finished"
            return result
        except BaseException as error:
            outcome = _outcome_of(error, call)
            if isinstance(error, Exception):
                self._notify(session, call, error, is_refused=outcome == "refused")
            raise
        finally:
            session.end(call)
            for each in (tally, self._total):
                each.note(outcome, self._clock.time_s() - now_s)

    async def run_pipeline(
        self, context: UserExecutionContext, agents: Sequence[str], value: Any = None, *, timeout_s: float | None = None
    ) -> Any:
        """A chain of agents: each gets the output of the one before; the last one's output. `timeout_s` is for all of
        them. Raises WorkflowError with the facts `stage`, `done` (outputs so far, by agent) and the cause below."""
        require_context(context)
        if not 1 <= len(agents) <= PIPELINE_MAX or isinstance(agents, str):
            raise InvalidInput(f"pipeline: expected a list of 1 to {PIPELINE_MAX} agents, saw {agents!r:.80}")
        given_s = timeout_s or self._timeout_s
        chain = context.child(deadline_s=self._clock.time_s() + given_s)
        done: dict[str, Any] = {}
        try:
            for number, agent in enumerate(agents, 1):
                try:
                    value = await self.run(chain, agent, value, timeout_s=given_s)
                except Exception as error:
                    raise WorkflowError(
                        f"pipeline: stage {number} of {len(agents)} ({agent}) failed: {error}",
                        error_type=ErrorType.TIMEOUT if isinstance(error, TimeoutError) else ErrorType.UNKNOWN,
                        workflow_id=context.run,
                        stage=agent,
                        done=done,
                    ) from error
                done[agent] = value
                told = {"stage": number, "of": len(agents), "agent": agent}
                self.registry.session(chain).emit(chain, "pipeline.stage", told)
        finally:
            await chain.cleanup()
        return value

    async def publish(self, context: UserExecutionContext, name: str, data: Any = None) -> Position:
        """Commit one event to the user's stream, within his quota of events and bytes. Raises QuotaExceeded,
        InvalidInput, and what a commit raises."""
        body = self.streams.encode(context, name, data)
        await self.usage.admit(context, {"events": 1, "bytes": len(body)})
        return await self.streams.publish_encoded((context.tenant, context.user), [(name, body)])

    def stream(self, context: UserExecutionContext, *, after: Position | str | None = None) -> StreamReader:
        """The user's stream behind `after`; see `UserStreams.stream`."""
        return self.streams.stream(context, after=after)

    def statistics(self, context: UserExecutionContext | None = None) -> ExecutionStatistics:
        """The figures of all users, or of the context's user alone."""
        if context is None:
            tally, sessions = self._total, list(self.registry.sessions())
        else:
            session = self.registry.find(context)
            sessions = [] if session is None else [session]
            tally = self._tallies.get((context.tenant, context.user), Tally())
        calls = [call for session in sessions for call in session.calls.values()]
        running = sum(call.is_running for call in calls)
        return tally.figures(running=running, waiting=len(calls) - running)

    def isolation(self) -> IsolationStatus:
        """Whether users stand apart now: no object of one session in another, no context or event of another user."""
        standings = [session.standing() for session in self.registry.sessions()]
        found = violations(standings)
        return IsolationStatus(
            is_isolated=not found,
            violations=tuple(found),
            users=len(standings),
            agents=sum(len(session.names()) for session in self.registry.sessions()),
            calls=sum(len(each.contexts) for each in standings),
        )

    async def __aenter__(self) -> ExecutionEngine:
        if self._own_core is not None:
            await self._own_core.__aenter__()
        self._tasks.start(self.lifecycle.keep(check_s=self._check_s), name="lifecycle")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop all calls, write what was emitted, end all agents; close the store if it was opened here."""
        for session in self.registry.sessions():
            for call in tuple(session.calls.values()):
                call.stopped = "the engine was closed"
                if call.task is not None:
                    call.task.cancel()
        await self._calls.stop()
        await self._tasks.stop()
        await self.registry.close()
        if self._own_core is not None:
            await self._own_core.__aexit__()
        await self.streams.close()
        if self._owns_store:
            await self.store.close()

    def __repr__(self) -> str:
        return f"ExecutionEngine({self.registry!r}, {self.registry.seats.all!r})"

    async def _attended(self, session: UserAgentSession, call: RunningCall, value: Any) -> Any:
        """The call, in a task that an emergency can end without its caller."""
        call.task = self._calls.start(self._call(session, call, value), name=f"{session.user}: {call.agent}")
        try:
            await asyncio.wait([call.task])
        except asyncio.CancelledError:
            call.task.cancel()
            await asyncio.wait([call.task], timeout=self._core_grace_s)
            raise
        if call.task.cancelled():
            raise Unavailable(f"agent {call.agent} of {session.user}: stopped by {call.stopped or 'its own doing'}")
        return call.task.result()

    async def _call(self, session: UserAgentSession, call: RunningCall, value: Any) -> Any:
        """A call with all that bounds it."""
        assert call.context.deadline_s is not None, "a call has a deadline"
        deadline = Deadline(call.context.deadline_s - self._clock.time_s())
        agent, key = await session.get(call.agent, call.context), session.key
        if self._own_core is not None:
            agent = session.definition(call.agent, agent)
        await self.usage.admit(call.context, {"starts": 1})
        used: dict[Measure, float] = {}
        async with self.registry.seats.seat(session.own_places, key, deadline):
            call.is_running = True
            self._total.started += 1
            self._tally(key).started += 1
            context = call.context.child(budget=self.usage.budget(call.context))

            def emit(event: CallEvent) -> None:
                size = session.emit(context, *told_as(event))
                used["events"] = used.get("events", 0) + 1
                used["bytes"] = used.get("bytes", 0) + size

            try:
                async with Deadline(deadline.left_s + self._core_grace_s).bound(f"agent {call.agent}"):
                    return await self._core.execute(context, agent, value, emit=emit, **self._more(context))
            finally:
                call.is_running = False
                await asyncio.shield(self._tasks.start(self._settle(call, context, used), name="settle"))

    def _more(self, context: UserExecutionContext) -> dict[str, Any]:
        """What a call is given beside its value: only what there is, so that a simple core need not know of it."""
        return {} if self._tools is None else {"tools": self._tools.bound(context)}

    async def _settle(self, call: RunningCall, context: UserExecutionContext, used: dict[Measure, float]) -> None:
        """Note what the call used, and clean up what it left, whatever came of it."""
        if context.budget is not None:
            spent = context.budget.spent
            used |= {"tokens": spent.tokens, "money_usd": float(spent.money_usd)}
        await self.usage.spend(context, used)
        for failure in await call.context.cleanup():
            log.warning("clean-up of a call failed", user=context.user, name=failure.name, reason=failure.reason)

    def _notify(self, session: UserAgentSession, call: RunningCall, error: Exception, *, is_refused: bool) -> None:
        """Tell the user, but of refusals that follow each other only the first of a second: a flood is not answered
        with another one."""
        now_s, what = self._clock.time_s(), (call.agent, type(error))
        if is_refused and session.told == what and now_s - session.told_s < TELL_AGAIN_S:
            return
        session.told, session.told_s = what, now_s
        context = call.context
        assert context.deadline_s is not None, "a call has a deadline"
        told = notification_of(
            error, agent=call.agent, timeout_s=context.deadline_s - call.began_s, reference=context.request
        )
        # A context of its own: that of the call is cleaned up by now.
        own = session.context(thread=context.thread, run=context.run, request=context.request)
        session.emitter.emit(own, NOTIFICATION, msgspec.to_builtins(told))
        for tally in (self._tally(session.key), self._total):
            tally.notified += 1

    def _tally(self, key: UserKey) -> Tally:
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = Tally()
            if len(self._tallies) > TALLIES_MAX:
                self._tallies.popitem(last=False)
        else:
            self._tallies.move_to_end(key)
        return tally


def _check_times(timeout_s: float, core_grace_s: float, check_s: float) -> None:
    if not 0 < timeout_s < float("inf") or core_grace_s < 0 or check_s <= 0:
        raise InvalidInput(
            "execution engine: expected timeout_s and check_s above 0 and core_grace_s of 0 or more, saw "
            f"{timeout_s}, {core_grace_s} and {check_s}"
        )


def _outcome_of(error: BaseException, call: RunningCall) -> Outcome:
    if call.stopped:
        return "stopped"
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    if isinstance(error, DeadlineExceeded | TimeoutError):
        return "timed_out"
    return "refused" if isinstance(error, QuotaExceeded | BulkheadFull) else "failed"


def _failed(name: str, error: BaseException) -> None:
    log.error("a task of users failed", task=name, error=repr(error))
