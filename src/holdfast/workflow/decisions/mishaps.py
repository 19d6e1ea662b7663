"""What becomes of a run when an occurrence cannot be judged or its decision cannot be stored. Pure.

It becomes a failure of the leaf it came from, as far as that goes, else the run stops there as failed, with the
reason: a run is never left as it was with the same thing due again, for then it would go round for ever.
"""

from __future__ import annotations

from contextlib import suppress

from msgspec.structs import replace

from holdfast.errors import ErrorSeverity, ErrorType, HoldfastError, InvalidInput, WorkflowError
from holdfast.workflow.decisions import occurrences as on
from holdfast.workflow.decisions import rules
from holdfast.workflow.decisions.advance import ask_again, decided
from holdfast.workflow.decisions.decision import Decision, Row, refused
from holdfast.workflow.decisions.due import due_now
from holdfast.workflow.decisions.failure import failure_of
from holdfast.workflow.model.build import Built
from holdfast.workflow.model.run import RUNNABLE, Failure, Run, encode_run


def judged(built: Built, run: Run, occurrence: on.Occurrence, *, now: float) -> Decision:
    """`rules.decide` for whoever owns the run: what raises there is a decision here."""
    try:
        decision = rules.decide(built, run, occurrence, now=now)
        encode_run(decision.run)
    except (WorkflowError, InvalidInput) as error:
        return failed_by(built, run, occurrence, failure_of(error), now=now)
    if decision.reason and _comes_again(run, occurrence, now):
        return set_down(run, _impossible(decision.reason))
    return decision


def failed_by(built: Built, run: Run, occurrence: on.Occurrence, failure: Failure, *, now: float) -> Decision:
    """The failure of the leaf that `occurrence` came from. A signal is refused instead: its sender hears why."""
    if isinstance(occurrence, on.Signalled) and not isinstance(occurrence, on.ChildEnded):
        return refused(run, failure.message)
    path = _leaf_of(run, occurrence)
    failed = on.Failed(leaf=path, visit=run.leaves[path].visit, failure=failure)
    with suppress(HoldfastError):  # where it escalates to cannot be entered either
        decision = rules.decide(built, run, failed, now=now)
        encode_run(decision.run)
        if not decision.reason and not _comes_again(decision.run, occurrence, now):
            return decision
    return set_down(run, failure)


def set_down(run: Run, failure: Failure) -> Decision:
    """The run stopped where it stands, as failed: nothing is entered or left, locks are given back."""
    row = Row(
        name="set-down",
        metadata={"error": failure.kind, "message": failure.message, "type": failure.error_type},
    )
    after = replace(
        run,
        status="failed",
        leaves={path: ask_again(leaf) for path, leaf in run.leaves.items()},
        alert_level=run.alert_level + 1,
        reason=f"{failure.kind}: {failure.message}"[:500],
    )
    released = tuple((path, leaf) for path, leaf in run.leaves.items() if leaf.locks)
    return replace(decided(after, (row,), stopped=tuple(run.leaves), keep_status=True), released=released)


def _comes_again(run: Run, occurrence: on.Occurrence, now: float) -> bool:
    """Whether the occurrence is due on `run`, and would be judged at once (again)."""
    is_judged = run.status in (*RUNNABLE, "suspect")
    return is_judged and due_now(run, now, draw=getattr(occurrence, "draw", 0.0)) == occurrence


def _leaf_of(run: Run, occurrence: on.Occurrence) -> str:
    """The leaf that an occurrence came from: the one it names, one that its timer belongs to, or the first."""
    if isinstance(occurrence, on.TimerDue):
        state = occurrence.timer.state
        return next((path for path in run.leaves if f"{path}.".startswith(f"{state}.")), next(iter(run.leaves)))
    path = getattr(occurrence, "leaf", "")
    return path if path in run.leaves else next(iter(run.leaves))


def _impossible(reason: str) -> Failure:
    return Failure(
        error_type=ErrorType.PERMANENT.value, severity=ErrorSeverity.HIGH.value, message=reason, kind="Refused"
    )
