"""`Workflow`: the declaration a user writes, and what it compiles to.

Nothing is checked late: an unknown target, an outcome without an edge, an unreachable state or a dead end is an
`InvalidDefinition` when the workflow is first handed to an engine (or `wf.build()` is called).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from holdfast.clock import parse_duration_s
from holdfast.errors import InvalidDefinition
from holdfast.limits.rules import Limit
from holdfast.names import DEFAULT_TENANT
from holdfast.resilience.dependencies import Dependencies
from holdfast.workflow.model.build import Built, build
from holdfast.workflow.model.definition import (
    ChildSpec,
    Declaration,
    Forward,
    Handler,
    HandlerT,
    Join,
    Locking,
    Retry,
    StateSpec,
    after_of,
    edges_of,
    limits_of,
    seconds_of,
)
from holdfast.workflow.model.run import queue_of
from holdfast.workflow.model.schedule import Missed, Overlap, Policy, Schedule, Timing
from holdfast.workflow.model.scheduling import check_schedule

SCHEDULER = "scheduler"
"""The user of the runs of a schedule that names none."""
Edges = str | Mapping[str, str] | None
Signals = Mapping[str, str | Forward] | None
After = Mapping[str, str] | None


class Workflow:
    """A named, versioned workflow over data of one type.

    `data`: a msgspec Struct or dataclass with defaults for all fields, or dict. `deadline`: how long a whole run may
    take; past it the run is escalated. `escalate_to`: the state that a run passes to when error handling gives up
    (without one it stops there as *failed*, to be retried by hand). `cancel_to`: the clean-up state of a
    cancelled run; without one it ends in a final state named `cancelled`. `limits`: what each attempt of each working
    state takes a place of, beside its own. `dependencies`: what its states need; an engine takes them from here, so
    that workers which only know the workflow have them, too.

    Example::

        wf = Workflow("greet", data=dict)

        @wf.state("hello", start=True, to="said")
        async def hello(ctx):
            ctx.data["text"] = await ctx.step("greet", str.upper, ctx.input)

        wf.final("said")
    """

    def __init__(
        self,
        name: str,
        *,
        version: int = 1,
        data: type[Any] = dict,
        deadline: str | float | None = None,
        escalate_to: str | None = None,
        cancel_to: str | None = None,
        retry: Retry | None = None,
        limits: Limit | Sequence[Limit] = (),
        dependencies: Dependencies | None = None,
    ) -> None:
        if not name or any(sign in name for sign in "@#/ \n"):
            raise InvalidDefinition(f'workflow: expected a name without space, "@", "#" or "/", saw {name!r}')
        if version < 1:
            raise InvalidDefinition(f"workflow {name}: expected a version of at least 1, saw {version}")
        self.name = name
        self.version = version
        self.data_type = data
        self.deadline_s = seconds_of(deadline)
        self.escalate_to = escalate_to
        self.cancel_to = cancel_to
        self.dependencies = dependencies
        self.migrations: dict[int, dict[str, str]] = {}
        self.schedules: list[Schedule] = []
        self._retry = retry or Retry()
        self._limits = limits_of(f"of workflow {name}", limits)
        self._declaration = Declaration(name)
        self._built: Built | None = None

    def state(
        self,
        path: str,
        *,
        to: Edges = None,
        start: bool = False,
        on: Signals = None,
        after: After = None,
        retry: Retry | None = None,
        lock: Locking | None = None,
        needs: Sequence[str] = (),
        limits: Limit | Sequence[Limit] = (),
        timeout_s: float | None = None,
        sla: str | float | None = None,
        on_error: str | None = None,
    ) -> Callable[[HandlerT], HandlerT]:
        """Declare a working state; decorates its handler, an async function of one context.

        `to`: where it goes when the handler returns None, or a target per returned name; without it the state
        completes its parent. `on`: signals that may interrupt it. `timeout_s`: bound of one attempt. `sla`: usual
        longest duration; a breach is told and journalled, the run goes on. `lock`: (kind, name) from the data, or
        (kind, name, "shared"), or a list of such; all held for the visit. `limits`: a `Limit` or several, of each of
        which every attempt takes a place. `needs`: names of dependencies that its handler calls: while one of them is
        not well the run is parked there, and spends no retry. `on_error`: where it goes when its retries are spent.
        """

        def declare(handler: HandlerT) -> HandlerT:
            self.add_state(
                path, handler, to=to, start=start, on=on, after=after, retry=retry, lock=lock, limits=limits,
                needs=needs, timeout_s=timeout_s, sla=sla, on_error=on_error,
            )  # fmt: skip
            return handler

        return declare

    def add_state(
        self,
        path: str,
        handler: Handler,
        *,
        to: Edges = None,
        start: bool = False,
        on: Signals = None,
        after: After = None,
        retry: Retry | None = None,
        lock: Locking | None = None,
        needs: Sequence[str] = (),
        limits: Limit | Sequence[Limit] = (),
        timeout_s: float | None = None,
        sla: str | float | None = None,
        on_error: str | None = None,
    ) -> None:
        """The same as `state`, for a handler that exists already."""
        self._built = None
        self._declaration.work(
            path,
            handler,
            edges=edges_of(to),
            is_start=start,
            signals=dict(on or {}),
            after=after_of(after),
            retry=retry or self._retry,
            lock=lock,
            needs=needs if isinstance(needs, str) else tuple(needs),
            limits=limits_of(path, [*self._limits, *(limits if isinstance(limits, list | tuple) else [limits])]),
            timeout_s=timeout_s,
            sla_s=seconds_of(sla),
            on_error=on_error,
        )

    def wait(
        self,
        path: str,
        *,
        on: Signals = None,
        after: After = None,
        start: bool = False,
        sla: str | float | None = None,
        about: Callable[[Any], str] | None = None,
        lock: Locking | None = None,
    ) -> None:
        """Declare a state that waits for signals (`on`) or time (`after={"48h": "escalated"}`).

        A waiting run holds no task and no memory. `about`: from the data, what a signal judges (such as the hash of
        a diff); a signal about something else is refused.
        """
        if not on and not after:
            raise InvalidDefinition(f"workflow {self.name}: wait {path!r}: expected on= or after=, saw neither")
        self._add(
            path, "wait", signals=dict(on or {}), after=after_of(after), is_start=start,
            sla_s=seconds_of(sla), about=about, lock=lock, retry=self._retry,
        )  # fmt: skip

    def child(
        self,
        path: str,
        *,
        workflow: str,
        to: Edges = None,
        input: Callable[[Any], Any] | None = None,
        into: str | None = None,
        start: bool = False,
        on: Signals = None,
        after: After = None,
        sla: str | float | None = None,
        on_error: str | None = None,
    ) -> None:
        """Declare a state that starts a run of `workflow` and waits for its end: the child is of the same user, begins
        in the commit that enters the state, and is cancelled by the one that leaves it early.

        `to`: an edge per outcome: a final state of the child by its name, else "done", "cancelled" or "failed" (it
        stopped; without that edge it is waited for until somebody resumes it); a plain target is the edge "done". An
        end without an edge is the state's failure. `input`: from the data, the child's input, at most 32 MiB; without
        it, the data. `into`: the field of the data that takes the child's data when it ends.
        """
        self._add(
            path, "child", edges=edges_of(to), child=ChildSpec(workflow=workflow, input=input, into=into),
            is_start=start, signals=dict(on or {}), after=after_of(after), sla_s=seconds_of(sla), on_error=on_error,
            retry=self._retry,
        )  # fmt: skip

    def compound(
        self,
        path: str,
        *,
        to: Edges = None,
        start: bool = False,
        on: Signals = None,
        after: After = None,
    ) -> None:
        """Give a parent state edges of its own: `to` when its children complete, `on` and `after` at any time."""
        self._add(path, "compound", edges=edges_of(to), is_start=start, signals=dict(on or {}), after=after_of(after))

    def parallel(
        self,
        path: str,
        *,
        to: Edges = None,
        start: bool = False,
        join: Join | None = None,
        on: Signals = None,
        after: After = None,
    ) -> None:
        """Make `path` a parallel state: its children run side by side; `to` is taken when `join` is satisfied
        (all regions unless said otherwise), `after={"10m": ...}` is the join's deadline."""
        self._add(
            path, "parallel", edges=edges_of(to), is_start=start, join=join or Join(), signals=dict(on or {}),
            after=after_of(after),
        )  # fmt: skip

    def history(self, path: str, *, deep: bool = True, to: str) -> None:
        """A history state: going there returns to where the parent was left, or to `to` if it never was entered."""
        self._add(path, "history", is_deep=deep, edges=edges_of(to))

    def final(self, *paths: str) -> None:
        """Declare final states: a run that reaches a top-level one is done."""
        for path in paths:
            self._add(path, "final")

    def every(
        self,
        interval: str | float,
        *,
        name: str | None = None,
        user: str = SCHEDULER,
        tenant: str = DEFAULT_TENANT,
        input: Any = None,
        missed: Missed = "one",
        missed_max: int = 100,
        overlap: Overlap = "allow",
    ) -> None:
        """Start a run at each multiple of `interval` ("15m", "24h") since the epoch, once whatever the number of
        engines.

        `user`, `tenant`: whose runs these are. `input`: theirs, or a function of the due time (an aware datetime) that
        gives it; without it {"due": "2026-01-31T12:15:00Z"}. `missed`: of the due times that passed while no engine
        worked, start none ("skip"), one, or all, of which the newest `missed_max`. `overlap`: "skip" starts none while
        the run before is at work.
        """
        timing = Timing(every_s=parse_duration_s(interval))
        policy = Policy(missed=missed, missed_max=missed_max, overlap=overlap)
        self._schedule(name or f"every-{interval}", timing, policy, user=user, tenant=tenant, input=input)

    def daily(
        self,
        at: str,
        *,
        zone: str = "UTC",
        days: Sequence[str] = (),
        name: str | None = None,
        user: str = SCHEDULER,
        tenant: str = DEFAULT_TENANT,
        input: Any = None,
        missed: Missed = "one",
        missed_max: int = 100,
        overlap: Overlap = "allow",
    ) -> None:
        """Start a run each day at `at` ("09:30") in a time zone ("Europe/Berlin"), or on `days` alone ("mon", "fri").

        A time that a change of the clocks skips is due as much later; one that comes twice is due the first time. The
        rest is as for `every`.
        """
        timing = Timing(at=at, days=tuple(days), zone=zone)
        policy = Policy(missed=missed, missed_max=missed_max, overlap=overlap)
        self._schedule(name or f"daily-{at}", timing, policy, user=user, tenant=tenant, input=input)

    def _schedule(self, name: str, timing: Timing, policy: Policy, *, user: str, tenant: str, input: Any) -> None:
        self._built = None
        schedule = Schedule(name=name, timing=timing, policy=policy, input=input, user=user, tenant=tenant)
        if name in [known.name for known in self.schedules]:
            raise InvalidDefinition(
                f"workflow {self.name}: schedule {name!r} is declared twice; give one another name="
            )
        self.schedules.append(check_schedule(self.name, schedule))

    def migrate(self, from_version: int, states: Mapping[str, str]) -> None:
        """Take over runs of `from_version` (or of older code of this version): each old leaf becomes the state that
        `states` names; leaves that are not named keep their path."""
        self._built = None
        self.migrations[from_version] = dict(states)

    def build(self) -> Built:
        """The compiled and checked workflow. Raises InvalidDefinition, listing everything that is wrong."""
        if self._built is None:
            self._built = build(self)
        return self._built

    @property
    def states(self) -> Mapping[str, StateSpec]:
        """The declared states by path, in document order."""
        return self._declaration.states

    def _add(self, path: str, kind: str, **options: Any) -> None:
        self._built = None
        self._declaration.add(StateSpec(path=path, kind=kind, **options))

    def __repr__(self) -> str:
        return f"Workflow({self.name!r}, version={self.version}, states={len(self.states)})"


def by_queue(workflows: tuple[Workflow, ...]) -> dict[str, Built]:
    """The compiled workflows by "name@version". Raises InvalidDefinition where one is given twice."""
    found: dict[str, Built] = {}
    for workflow in workflows:
        queue = queue_of(workflow.name, workflow.version)
        if queue in found:
            raise InvalidDefinition(f"engine: workflow {queue} is given twice; raise the version of one")
        found[queue] = workflow.build()
    return found
