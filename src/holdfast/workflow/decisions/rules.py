"""What may happen to a run: every decision, pure. Read this to learn what the engine does; its neighbours only obey.

`decide` takes a run, what occurred and the store's time, and gives the next run with the journal rows that tell it.
It never changes its inputs. A refusal is a decision too: the same run, no rows, and the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from holdfast import codec, patch
from holdfast.chart import Timer as ChartTimer
from holdfast.chart import accepts_timer, shown, step
from holdfast.errors import Deadlock, ErrorSeverity, ErrorType, InvalidInput, LockTimeout, WorkflowError
from holdfast.workflow.decisions import occurrences as on
from holdfast.workflow.decisions.advance import (
    ERROR_STATE,
    advance,
    ask_again,
    begin_attempt,
    decided,
    fresh_attempt,
    granted,
    moved,
    place_asked,
    place_lost,
    with_released,
    without_locks,
)
from holdfast.workflow.decisions.decision import Decision, Row, refused
from holdfast.workflow.decisions.family import FAILED, STOPPED, ChildEnd, merged, outcome_of
from holdfast.workflow.decisions.parking import parked, unparked
from holdfast.workflow.model.build import Built, done_event, escalate_event
from holdfast.workflow.model.definition import DONE, Retry, StateSpec
from holdfast.workflow.model.run import RUNNABLE, STILL, Failure, Leaf, Run, spec_text

GIVES_WAY = (Deadlock.__name__, LockTimeout.__name__)
"""Failures after which a visit keeps no lock over its back-off: it holds something, and could not get what it lacks."""


def decide(built: Built, run: Run, occurrence: on.Occurrence, *, now: float) -> Decision:
    """The judgement of one occurrence. Raises WorkflowError when a handler's result makes no sense: it is then to be
    judged as a failure of that handler."""
    if run.is_ended:
        return refused(run, f"run {run.id} has ended in {run.outcome}")
    if run.status in STILL and isinstance(occurrence, on.OF_ITS_OWN):  # it was under way as the run was stopped
        return refused(run, f"run {run.id} is {run.status}, and waits for somebody to resume it")
    judge = _JUDGES[type(occurrence)]
    decision = judge(built, run, occurrence, now)
    return refused(run, decision.reason) if decision.reason else decision


def at_home(built: Built, run: Run, *, now: float) -> Decision:
    """The run as this code sees it: taken over first, with the row that tells it, where other code wrote it."""
    if run.is_ended or (run.configuration.chart_hash == built.chart.hash and run.version == built.version):
        return Decision(run=run)
    states = dict(built.migrations.get(run.version, {}))
    return decide(built, run, on.Moved(version=built.version, states=states), now=now)


def backoff_s(retry: Retry, attempt: int, *, draw: float) -> float:
    """Seconds to wait before retry `attempt` (1 is the first): exactly `first_s`, then doubling up to `cap_s`, with up
    to `jitter` of it added from the second on. Raises ValueError if `attempt` < 1."""
    if attempt < 1:
        raise ValueError(f"attempt: expected at least 1, saw {attempt}")
    wait = min(retry.cap_s, retry.first_s * 2.0 ** min(attempt - 1, 60))
    return wait if attempt == 1 else min(retry.cap_s, wait * (1 + retry.jitter * draw))


# -- the judges -------------------------------------------------------------------------------------------------


def _finished(built: Built, run: Run, event: on.Finished, now: float) -> Decision:
    leaf = run.leaves.get(event.leaf)
    if leaf is None or leaf.visit != event.visit or leaf.phase != "working":
        return refused(run, f"{shown(event.leaf)} #{event.visit} is not working any more")
    spec = built.spec_of(event.leaf)
    if event.outcome not in (spec.edges or {DONE: ""}):
        raise WorkflowError(
            f"state {spec.path}: the handler returned {event.outcome!r}, expected one of "
            f"{sorted(spec.edges) or [DONE]} (None counts as {DONE!r})",
            error_type=ErrorType.PERMANENT,
            severity=ErrorSeverity.HIGH,
            workflow_id=run.id,
        )
    merged = replace(run, data=msgspec.Raw(merge_data(run, event)))
    trigger = event.outcome if event.outcome != DONE else f"{shown(event.leaf).rsplit('.', 1)[-1]}.done"
    return advance(built, merged, done_event(spec.path, event.outcome), now, trigger=trigger, agent=event.agent)


def _failed(built: Built, run: Run, event: on.Failed, now: float) -> Decision:
    leaf = run.leaves.get(event.leaf)
    if leaf is None or leaf.visit != event.visit or leaf.phase == "failing":
        return refused(run, f"{shown(event.leaf)} #{event.visit} is not working any more")
    retry = built.spec_of(event.leaf).retry
    attempts = leaf.attempts + 1
    row = _ErrorRows(event.leaf, event.failure, event.agent)
    retryable = event.failure.error_type not in (ErrorType.PERMANENT.value, ErrorType.VALIDATION.value)
    if retryable and attempts <= retry.max_retries:
        wait = backoff_s(retry, attempts, draw=event.draw)
        failing = replace(
            leaf, phase="failing", attempts=attempts, retry_at=now + wait, deadline_at=None, failure=event.failure
        )
        # Who could not get one lock more gives back all, or who is in the way would wait for what is kept meanwhile.
        gives_way = bool(leaf.locks) and event.failure.kind in GIVES_WAY
        failing = failing.without_tokens() if gives_way else failing
        after = replace(
            run, leaves={**run.leaves, event.leaf: failing}, retry_count=attempts, max_retries=retry.max_retries
        )
        decision = decided(after, row.rows("retry", attempt=attempts, wait_s=round(wait, 3)))
        return with_released(decision, ((event.leaf, leaf),) if gives_way else ())
    failing = replace(
        leaf.without_tokens(),
        phase="failing",
        attempts=attempts,
        retry_at=None,
        deadline_at=None,
        failure=event.failure,
    )
    reason = f"{event.failure.kind}: {event.failure.message}"
    spent = replace(
        run,
        leaves={**run.leaves, event.leaf: failing},
        escalated=True,
        alert_level=run.alert_level + 1,
        max_retries=retry.max_retries,
        reason=reason[:500],
    )
    return _escalate(built, spent, event.leaf, leaf, row.rows("escalation", attempt=attempts), event.agent, now)


def _escalate(
    built: Built, run: Run, path: str, before: Leaf, rows: tuple[Row, ...], agent: str, now: float
) -> Decision:
    """Leave by the declared way for what cannot be retried; without one the run stops there as failed."""
    taken = step(built.chart, run.configuration, escalate_event(built.spec_of(path).path))
    if taken.outcome == "refused":
        after, all_held = without_locks(replace(run, status="failed"))
        return with_released(decided(after, rows, keep_status=True), all_held)
    released = ((path, before),) if before.locks else ()
    origin = {path: f"{ERROR_STATE}:escalation"}
    decision = moved(built, run, taken, now, trigger="escalation", agent=agent, origin=origin)
    if decision.rows[0].to_state == origin[path] and rows[-1].to_state == origin[path]:
        # The chart has a state of that very name: the row that says "escalation" is its entry.
        entry = replace(decision.rows[0], from_state=rows[-1].from_state, metadata=rows[-1].metadata)
        return with_released(replace(decision, rows=(*rows[:-1], entry, *decision.rows[1:])), released)
    return with_released(replace(decision, rows=rows + decision.rows), released)


def _signalled(built: Built, run: Run, event: on.Signalled, now: float) -> Decision:
    signal = event.signal
    told = {"name": signal.name, "by": signal.by, "about": signal.about, "at": now, "data": codec.decode(signal.data)}
    metadata = {"signal": signal.id} | ({"about": signal.about} if signal.about else {})
    blobs = {name: ref for name, ref in run.blobs.items() if name != "signal"}
    if signal.blob is not None:
        blobs["signal"] = signal.blob
    told_run = replace(run, signal=told, blobs=blobs)
    return advance(built, told_run, signal.name, now, trigger=signal.name, agent=signal.by, metadata=metadata)


def _child_ended(built: Built, run: Run, event: on.ChildEnded, now: float) -> Decision:
    leaf = run.leaves.get(event.leaf)
    if leaf is None or (spec := built.spec_of(event.leaf)).child is None:
        return refused(run, f"{shown(event.leaf) or run.id} waits for no child")
    end = codec.decode(event.signal.data, ChildEnd)
    outcome = outcome_of(spec, end)
    if outcome is None and end.status in STOPPED:
        return refused(run, f"state {spec.path} has no edge {FAILED!r}: it waits until somebody resumes the child")
    alone = replace(leaf, child=None) if end.status not in STOPPED else leaf
    parted = replace(run, leaves={**run.leaves, event.leaf: alone})
    if outcome is None:
        text = f"child {end.child} ended in {end.outcome} ({end.status}), for which {spec.path} has no edge"
        return _failed(built, parted, _of_child(event, leaf, "ChildEnded", text), now)
    try:
        with_result = merged(built, parted, spec, end)
    except InvalidInput as error:
        return _failed(built, parted, _of_child(event, leaf, "InvalidInput", error.message), now)
    facts = {"child": end.child, "status": end.status, "outcome": end.outcome} | (
        {"reason": end.reason} if end.reason else {}
    )
    trigger = f"{shown(event.leaf).rsplit('.', 1)[-1]}.{outcome}"
    return advance(
        built, with_result, done_event(spec.path, outcome), now, trigger=trigger, agent=event.agent, metadata=facts
    )


def _of_child(event: on.ChildEnded, leaf: Leaf, kind: str, message: str) -> on.Failed:
    """What came of a child as the failure of the state that waited for it: by hand it may start another."""
    failure = Failure(
        error_type=ErrorType.PERMANENT.value, severity=ErrorSeverity.HIGH.value, message=message, kind=kind
    )
    return on.Failed(leaf=event.leaf, visit=leaf.visit, failure=failure, agent=event.agent)


def _parent_left(built: Built, run: Run, event: on.ParentLeft, now: float) -> Decision:
    reason = str(codec.decode(event.signal.data))
    return _cancelled(built, run, on.Cancelled(agent=event.agent, reason=reason), now)


def _timer(built: Built, run: Run, event: on.TimerDue, now: float) -> Decision:
    timer = event.timer
    without = replace(run, timers=tuple(item for item in run.timers if item != timer))
    if not accepts_timer(run.configuration, ChartTimer(timer.state, timer.event, 0.0, timer.visit)):
        return decided(without, (Row(name="timer-dropped", metadata={"state": shown(timer.state)}),))
    metadata = {"due": timer.due}
    decision = advance(built, without, timer.event, now, trigger="timeout", agent=event.agent, metadata=metadata)
    if decision.reason:
        return decided(without, (Row(name="timer-dropped", metadata={"reason": decision.reason}),))
    return decision


def _retry_due(built: Built, run: Run, event: on.RetryDue, now: float) -> Decision:
    leaf = run.leaves.get(event.leaf)
    if leaf is None or leaf.visit != event.visit or leaf.phase != "failing":
        return refused(run, f"{shown(event.leaf)} #{event.visit} is not in back-off")
    spec = built.spec_of(event.leaf)
    rested = replace(leaf, retry_at=None)
    again = begin_attempt(spec, rested, now) if leaf.is_granted else ask_again(rested)
    row = Row(
        from_state=f"{ERROR_STATE}:retry",
        to_state=spec_text(event.leaf),
        trigger="retry",
        agent=event.agent,
        metadata={"attempt": leaf.attempts + 1},
    )
    return decided(replace(run, leaves={**run.leaves, event.leaf: again}), (row,), entered=(event.leaf,))


def _overdue(built: Built, run: Run, event: on.AttemptOverdue, now: float) -> Decision:
    limit = built.spec_of(event.leaf).timeout_s
    if limit is None:
        return _without_limit(run, event)
    failure = Failure(
        error_type=ErrorType.TIMEOUT.value,
        severity=ErrorSeverity.MEDIUM.value,
        message=f"{shown(event.leaf)} took longer than {limit:g} s",
        kind="Timeout",
    )
    failed = on.Failed(leaf=event.leaf, visit=event.visit, failure=failure, draw=event.draw, agent=event.agent)
    decision = _failed(built, run, failed, now)
    return replace(decision, stopped=(*decision.stopped, event.leaf)) if not decision.reason else decision


def _without_limit(run: Run, event: on.AttemptOverdue) -> Decision:
    """The code that runs now has no limit there any more: the attempt goes on."""
    unlimited = replace(run.leaves[event.leaf], deadline_at=None)
    facts = {"state": shown(event.leaf), "reason": "the state has no timeout_s any more"}
    row = Row(name="timer-dropped", agent=event.agent, metadata=facts)
    return decided(replace(run, leaves={**run.leaves, event.leaf: unlimited}), (row,))


def _sla(built: Built, run: Run, event: on.SlaBreached, now: float) -> Decision:
    leaf = run.leaves.get(event.leaf)
    if leaf is None or leaf.visit != event.visit:
        return refused(run, f"{shown(event.leaf)} #{event.visit} was left")
    late = replace(run, leaves={**run.leaves, event.leaf: replace(leaf, sla_at=None)}, alert_level=run.alert_level + 1)
    facts = {"state": spec_text(event.leaf), "since": leaf.entered_at, "alert_level": late.alert_level}
    return decided(late, (Row(name="sla-breached", agent=event.agent, metadata=facts),))


def _run_overdue(built: Built, run: Run, event: on.RunOverdue, now: float) -> Decision:
    path = next(iter(run.leaves))
    leaf = run.leaves[path]
    late = replace(run, escalated=True, alert_level=run.alert_level + 1, reason="the run passed its deadline")
    row = Row(
        from_state=spec_text(path), to_state=f"{ERROR_STATE}:escalation", trigger="deadline", agent=event.agent,
        metadata={"timeout_at": run.timeout_at},
    )  # fmt: skip
    return _escalate(built, late, path, leaf, (row,), event.agent, now)


def _granted(built: Built, run: Run, event: on.LockGranted, now: float) -> Decision:
    leaf = run.leaves.get(event.leaf)
    if leaf is None or leaf.visit != event.visit or not leaf.locks or leaf.phase != "locking":
        return refused(run, f"{shown(event.leaf)} #{event.visit} does not wait for a lock")
    working, rows = granted(built.spec_of(event.leaf), leaf, event.tokens, now)
    return decided(replace(run, leaves={**run.leaves, event.leaf: working}), rows, entered=(event.leaf,))


def _lock_lost(built: Built, run: Run, event: on.LockLost, now: float) -> Decision:
    leaf = run.leaves.get(event.leaf)
    if leaf is None or leaf.visit != event.visit or not leaf.locks:
        return refused(run, f"{shown(event.leaf)} #{event.visit} holds no lock")
    rows = tuple(Row(name="lock-asked", metadata={"lock": str(lock)}) for lock in leaf.locks)
    after = replace(run, leaves={**run.leaves, event.leaf: ask_again(leaf)})
    return decided(after, rows, stopped=(event.leaf,), entered=(event.leaf,))


def _cancelled(built: Built, run: Run, event: on.Cancelled, now: float) -> Decision:
    marked = replace(run, is_cancelled=True, reason=event.reason or f"cancelled by {event.agent}")
    metadata = {"reason": event.reason} if event.reason else {}
    return advance(built, marked, built.cancel_event, now, trigger="cancel", agent=event.agent, metadata=metadata)


def _paused(built: Built, run: Run, event: on.Paused, now: float) -> Decision:
    if run.status not in ("running", "waiting", "suspect"):
        return refused(run, f"run {run.id} is {run.status}; only a running or waiting run can be paused")
    row = Row(name="paused", agent=event.agent, metadata={"reason": event.reason} if event.reason else {})
    after, released = without_locks(replace(run, status="paused", reason=event.reason))
    decision = decided(after, (row,), stopped=tuple(run.leaves), keep_status=True)
    return with_released(decision, released)


def _resumed(built: Built, run: Run, event: on.Resumed, now: float) -> Decision:
    if run.status not in ("paused", "failed", "poisoned", "suspect"):
        return refused(run, f"run {run.id} is {run.status}; only a paused, failed or set-aside run can be resumed")
    leaves = {path: fresh_attempt(built.spec_of(path), leaf, now) for path, leaf in run.leaves.items()}
    row = Row(name="resumed", agent=event.agent, metadata={"from": run.status, "reason": event.reason})
    after = replace(
        run, status="running", leaves=leaves, escalated=False, retry_count=0, deaths=0, memos_seen=0, reason="",
        timeout_at=_extended(built, run, now),
    )  # fmt: skip
    return decided(after, (row,), entered=tuple(leaves))


def _died(built: Built, run: Run, event: on.Died, now: float) -> Decision:
    deaths = run.deaths + 1 if event.memos == run.memos_seen else 1
    counted = replace(run, deaths=deaths, memos_seen=event.memos)
    facts: dict[str, object] = {"deaths": deaths, "deaths_max": event.deaths_max}
    if event.silent_s is not None:
        facts["silent_s"] = round(event.silent_s, 3)
    if event.was_alone and deaths >= event.deaths_max:
        reason = f"its process died {deaths} times without progress; resume it by hand after a look"
        after = replace(counted, status="poisoned", reason=reason, alert_level=run.alert_level + 1)
        return decided(after, (Row(name="set-aside", metadata=facts),), keep_status=True)
    if deaths >= event.deaths_max - 1:
        after = replace(counted, status="suspect")
        return decided(after, (Row(name="suspected", metadata=facts),), keep_status=True)
    cleared = replace(counted, status="running") if run.status == "suspect" else counted
    return decided(cleared, (Row(name="recovered", metadata=facts),))


def _taken_up(built: Built, run: Run, event: on.TakenUp, now: float) -> Decision:
    cut_short = {
        path: leaf
        for path, leaf in run.leaves.items()
        if leaf.phase == "working"
        and leaf.deadline_at is not None
        and (spec := built.spec_of(path)).timeout_s is not None
        and not spec.limits  # it begins with the place that it gets
    }
    if not cut_short:
        return refused(run, f"run {run.id} has no attempt that could run out of time")
    begun = {path: begin_attempt(built.spec_of(path), leaf, now) for path, leaf in cut_short.items()}
    row = Row(name="begun-anew", agent=event.agent, metadata={"states": [spec_text(path) for path in begun]})
    return decided(replace(run, leaves={**run.leaves, **begun}), (row,))


def _directed(built: Built, run: Run, event: on.Directed, now: float) -> Decision:
    data = codec.decode(run.data)
    data.update(codec.decode(event.updates))
    updated = replace(run, data=msgspec.Raw(codec.encode(data, what="context")))
    return advance(built, updated, event.event, now, trigger=event.trigger, agent=event.agent)


def _reported(built: Built, run: Run, event: on.Reported, now: float) -> Decision:
    if not run.leaves:
        return refused(run, f"run {run.id} has no active leaf")
    path, leaf = next(iter(run.leaves.items()))
    failed = on.Failed(leaf=path, visit=leaf.visit, failure=event.failure, draw=event.draw, agent=event.agent)
    decision = _failed(built, run, failed, now)
    return decision if decision.reason else replace(decision, stopped=(*decision.stopped, path))


def _moved(built: Built, run: Run, event: on.Moved, now: float) -> Decision:
    configuration = built.adopt(run, event.states)
    leaves = {
        path: _suited(built.spec_of(path), leaf, now)
        for path, leaf in (_renamed(built, old, leaf, event.states) for old, leaf in run.leaves.items())
    }
    name = "migrated" if event.states or event.version != run.version else "adopted"
    row = Row(
        name=name, agent=event.agent,
        metadata={"from_version": run.version, "to_version": event.version, "chart": built.chart.hash},
    )  # fmt: skip
    timers = tuple(built.renamed_timer(timer, event.states) for timer in run.timers)
    after = replace(run, version=event.version, configuration=configuration, leaves=leaves, timers=timers)
    childless = tuple(path for path in leaves if built.spec_of(path).child is not None)
    return decided(after, (row,), entered=childless, keep_status=run.status not in RUNNABLE)


_JUDGES: dict[type[on.Occurrence], Callable[[Built, Run, Any, float], Decision]] = {
    on.Finished: _finished,
    on.Failed: _failed,
    on.Signalled: _signalled,
    on.ChildEnded: _child_ended,
    on.ParentLeft: _parent_left,
    on.TimerDue: _timer,
    on.RetryDue: _retry_due,
    on.AttemptOverdue: _overdue,
    on.Parked: parked,
    on.Unparked: unparked,
    on.SlaBreached: _sla,
    on.RunOverdue: _run_overdue,
    on.LockGranted: _granted,
    on.LockLost: _lock_lost,
    on.PlaceAsked: place_asked,
    on.PlaceLost: place_lost,
    on.Cancelled: _cancelled,
    on.Paused: _paused,
    on.Resumed: _resumed,
    on.Died: _died,
    on.TakenUp: _taken_up,
    on.Directed: _directed,
    on.Reported: _reported,
    on.Moved: _moved,
}


# -- what they share --------------------------------------------------------------------------------------------


def merge_data(run: Run, event: on.Finished) -> bytes:
    """The run's data with what a handler changed of it. Two regions that changed the same place differently are a
    WorkflowError of type CONFLICT that names the paths; it is not retried, for the second try would hide it."""
    current = bytes(run.data)
    if current == event.base or event.data == event.base:
        return event.data if current == event.base else current
    base = codec.decode(event.base)
    mine, theirs = patch.diff(base, codec.decode(event.data)), patch.diff(base, codec.decode(current))
    if clashes := patch.overlap(mine, theirs):
        raise WorkflowError(
            f"state {shown(event.leaf)}: another region changed the same data: {', '.join(clashes)}; "
            "let each region write fields of its own",
            error_type=ErrorType.PERMANENT,
            severity=ErrorSeverity.HIGH,
            workflow_id=run.id,
            paths=clashes,
        )
    only_mine = [operation for operation in mine if operation not in theirs]  # what both did is done
    return codec.encode(patch.apply(codec.decode(current), only_mine), what="data")


class _ErrorRows:
    """The journal rows of a failure: detected, evaluated, then retried or escalated."""

    def __init__(self, leaf: str, failure: Failure, agent: str) -> None:
        self._leaf, self._failure, self._agent = leaf, failure, agent

    def rows(self, verdict: str, **facts: Any) -> tuple[Row, ...]:
        """`verdict` is "retry" or "escalation"; `facts` go to its row."""
        error = {"error": self._failure.kind, "message": self._failure.message, "type": self._failure.error_type}
        path = [spec_text(self._leaf), "error_detection", "retry_evaluation", verdict]
        states = [path[0], *(f"{ERROR_STATE}:{name}" for name in path[1:])]
        triggers = ("error", "evaluate", verdict)
        metadata: tuple[dict[str, Any], ...] = (error, {}, facts)
        return tuple(
            Row(
                from_state=states[i],
                to_state=states[i + 1],
                trigger=triggers[i],
                agent=self._agent,
                metadata=metadata[i],
            )
            for i in range(3)
        )


def _renamed(built: Built, old: str, leaf: Leaf, states: dict[str, str]) -> tuple[str, Leaf]:
    """A leaf of older code under its new name; its visit keeps the name that it began with."""
    path = built.renamed(old, states)
    began = leaf.born or old
    return path, replace(leaf, born="" if began == path else began)


def _suited(spec: StateSpec, leaf: Leaf, now: float) -> Leaf:
    """The leaf under newer code, which may have made a waiting state of a working one, or the other way round."""
    is_work = spec.kind == "work"
    if leaf.phase in ("asking", "queuing"):  # for what the newer code wants of it
        return begin_attempt(spec, leaf, now)
    fits = leaf.phase not in ("working", "waiting") or (leaf.phase == "working") == is_work
    return leaf if fits else begin_attempt(spec, replace(leaf, deadline_at=None), now)


def _extended(built: Built, run: Run, now: float) -> float | None:
    """A run resumed past its deadline gets a new one; otherwise it would escalate at once."""
    if run.timeout_at is None or run.timeout_at > now or built.deadline_s is None:
        return run.timeout_at
    return now + built.deadline_s
