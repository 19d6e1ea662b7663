"""What the command line decides, pure: exit codes, what is due next, how signals are typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from holdfast.clock import format_duration
from holdfast.errors import CommitUnknown, Corrupt, HoldfastError, InvalidInput, Unavailable
from holdfast.store.wrapping.seal import CannotOpen
from holdfast.workflow.decisions import occurrences as on
from holdfast.workflow.model.run import RUNNABLE, Run

DONE, REFUSED, USAGE, AWAY, CORRUPT, UNKNOWN, STOPPED = 0, 1, 2, 3, 4, 5, 130
"""Exit codes. 1 and 2 will be so again; 3 may pass; 4 wants a person; 5 wants a look before anything is done twice."""

EXIT_CODES: Mapping[int, str] = {
    DONE: "done",
    REFUSED: "a rule says no, or there is no such thing; doctor: something needs you; soak: it found faults",
    USAGE: "the command line, a setting or a value in it cannot be used",
    AWAY: "not possible now: the store is away or busy, or nobody has judged it yet; try again",
    CORRUPT: "stored bytes contradict their digests; see verify, keep the last backup",
    UNKNOWN: "the answer to a commit was lost: it may have happened, look before you try again",
    STOPPED: "stopped by Ctrl-C",
}

COMMAND_OF_SIGNAL = {"approve": "approve", "reject": "reject", "request_changes": "request-changes"}
"""Signals with a command of their own; any other one is sent by `send`."""


def exit_code(error: HoldfastError) -> int:
    """The exit code that an error ends a command with."""
    if isinstance(error, CannotOpen):  # the key is missing: nothing says that the bytes are damaged
        return USAGE
    if isinstance(error, Corrupt):
        return CORRUPT
    if isinstance(error, CommitUnknown):
        return UNKNOWN
    if isinstance(error, Unavailable):
        return AWAY
    return USAGE if isinstance(error, InvalidInput) else REFUSED


class Due(NamedTuple):
    """What happens to a run next without anybody's doing, and when (epoch seconds)."""

    at: float
    what: str


def next_due(run: Run) -> Due | None:
    """The earliest of a run's timers, retries, limits and deadlines; None where it waits for somebody alone."""
    if run.due is None:
        return None
    found = [Due(timer.due, "timer") for timer in run.timers]
    for leaf in run.leaves.values():
        times = ((leaf.retry_at, "retry"), (leaf.deadline_at, "timeout"), (leaf.sla_at, "sla"))
        found += [Due(at, what) for at, what in times if at is not None]
    if run.timeout_at is not None and not run.escalated:
        found.append(Due(run.timeout_at, "deadline"))
    return min(found)


def distance(at: float, now: float) -> str:
    """A time as people say it: "in 47h", "3m ago", "now" within a second."""
    seconds = round(at - now)
    if abs(seconds) < 1:
        return "now"
    return f"in {format_duration(seconds)}" if seconds > 0 else f"{format_duration(-seconds)} ago"


def lasting(seconds: float) -> str:
    """A duration as people say it, "0ms" at least."""
    return format_duration(max(0.0, seconds))


def signal_command(ref: str, signal: str, *, visit: int, about: str) -> tuple[str, ...]:
    """The words of the command that sends a signal and can hit nothing but what was looked at."""
    own = COMMAND_OF_SIGNAL.get(signal)
    words = ("holdfast", own, ref) if own else ("holdfast", "send", ref, signal)
    return (*words, "--about", about) if about else (*words, "--visit", str(visit))


def command_to_go_on(ref: str, status: str) -> tuple[str, ...]:
    """The words of the command that a run which stands still waits for; none for any other."""
    verb = {"paused": "resume", "failed": "retry", "poisoned": "retry"}.get(status)
    return ("holdfast", verb, ref) if verb else ()


def retries_now(run: Run, *, by: str) -> list[on.Occurrence]:
    """What makes a run try again at once: one that stands still is resumed, each back-off of a running one is cut
    short. Empty where there is nothing to retry."""
    if run.status in ("failed", "poisoned"):
        return [on.Resumed(agent=by, reason="retried by hand")]
    if run.status not in RUNNABLE:
        return []
    return [
        on.RetryDue(agent=by, leaf=path, visit=leaf.visit)
        for path, leaf in run.leaves.items()
        if leaf.retry_at is not None
    ]


def is_about(given: str, wanted: str) -> bool:
    """Whether `given` names `wanted`: the whole of it or, as with commits, at least 7 signs of its beginning."""
    return given == wanted or (len(given) >= 7 and wanted.startswith(given))
