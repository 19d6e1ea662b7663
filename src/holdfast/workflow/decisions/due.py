"""What of a run has come due. Pure.

To the microsecond, as stores keep times: a run that was claimed for its time is not found to be early, let go and
claimed again.
"""

from __future__ import annotations

from holdfast.store.decisions.rules import moment
from holdfast.workflow.decisions import occurrences as on
from holdfast.workflow.model.run import Run


def due_now(run: Run, now: float, *, draw: float = 0.0) -> on.Occurrence | None:
    """The earliest thing whose time has come, or None."""
    found: list[tuple[float, int, on.Occurrence]] = [
        (timer.due, 0, on.TimerDue(timer=timer)) for timer in run.timers if _has_come(timer.due, now)
    ]
    for path, leaf in run.leaves.items():
        if leaf.sla_at is not None and _has_come(leaf.sla_at, now):
            found.append((leaf.sla_at, 1, on.SlaBreached(leaf=path, visit=leaf.visit)))
        if leaf.retry_at is not None and _has_come(leaf.retry_at, now):
            over = on.Unparked if leaf.phase == "parked" else on.RetryDue
            found.append((leaf.retry_at, 2, over(leaf=path, visit=leaf.visit)))
        if leaf.deadline_at is not None and _has_come(leaf.deadline_at, now):
            found.append((leaf.deadline_at, 3, on.AttemptOverdue(leaf=path, visit=leaf.visit, draw=draw)))
    if run.timeout_at is not None and _has_come(run.timeout_at, now) and not run.escalated:
        found.append((run.timeout_at, 4, on.RunOverdue()))
    return min(found, key=lambda item: item[:2])[2] if found else None


def _has_come(due: float, now: float) -> bool:
    return moment(due) <= moment(now)
