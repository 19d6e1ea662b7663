"""When backups are due, how their files are named, and which of them may go. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from holdfast.clock import utc

EVERY_MIN_S = 1.0
RETRY_PART = 0.1
"""After a failure it is tried again when so much of the interval has passed."""
GRACE_PART = 0.1
GRACE_MIN_S = 60.0
"""How late a scheduled backup may be before somebody is told: a part of its interval, a minute at least."""
_NAME = re.compile(r"holdfast-(\d{8}-\d{6})\.backup")
_FORM = "%Y%m%d-%H%M%S"


def name_of(at_s: float) -> str:
    """The name of a backup taken then (epoch seconds); names sort by time."""
    return f"holdfast-{utc(at_s):{_FORM}}.backup"


def time_of(name: str) -> float | None:
    """When the backup of that name was taken, to the second; None if it is no dated backup, or not a good one yet."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        return datetime.strptime(match[1], _FORM).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def newest_first(names: Iterable[str]) -> list[str]:
    """The dated backups among these names."""
    return sorted((name for name in names if time_of(name) is not None), reverse=True)


def to_delete(names: Iterable[str], *, keep: int) -> list[str]:
    """Those dated backups that are older than the newest `keep`. Whatever else lies there stays."""
    assert keep >= 1, "the last good backup is never deleted"
    return newest_first(names)[keep:]


def first_due(newest_at_s: float | None, now_s: float, *, every_s: float) -> float:
    """When a schedule that begins now takes its first backup: at once, unless there is one young enough."""
    return now_s if newest_at_s is None else still_due(max(now_s, newest_at_s + every_s), now_s, every_s=every_s)


def next_due(due_s: float, now_s: float, *, every_s: float, is_good: bool) -> float:
    """When the backup after the one that was due at `due_s` is due: on the same grid, however long it took. What was
    slept through is caught up by one. After a failure it is tried again sooner."""
    missed = max(0, int((now_s - due_s) // every_s))
    following = due_s + (missed + 1) * every_s
    return following if is_good else min(following, now_s + RETRY_PART * every_s)


def still_due(due_s: float, now_s: float, *, every_s: float) -> float:
    """`due_s`, unless the clock was set back since: nothing is due later than one interval from now."""
    return min(due_s, now_s + every_s)


def is_overdue(age_s: float, *, every_s: float, took_s: float) -> bool:
    """Whether the backup behind one of that age should have been there by now. `took_s`: how long that one took."""
    return age_s > every_s + took_s + max(GRACE_MIN_S, GRACE_PART * every_s)
