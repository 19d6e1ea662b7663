"""Schedules: when runs begin by themselves, and what becomes of the times that were missed. Pure.

Due times lie on a grid that no process sets: multiples of the interval since the epoch, or a time of day in a zone. So
every process names the same due times, whenever it was started.
"""

from __future__ import annotations

import math
from collections import deque
from datetime import datetime, time, timedelta
from typing import NamedTuple, get_args

import msgspec

from holdfast.clock import zone_of
from holdfast.errors import InvalidDefinition
from holdfast.names import check_id
from holdfast.workflow.model.schedule import Missed, Overlap, Policy, Schedule, Timing, iso

ACTIVE, PAUSED = "active", "paused"
EVERY_MIN_S = 1.0
LATE_S = 60.0
"""A due time that so many seconds have passed since was missed."""
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class ScheduleState(msgspec.Struct, frozen=True, kw_only=True):
    """What the record of a schedule says; its next due time is the record's. `dropped`: due times without a run, for
    they were missed, or paused, or another run was at work."""

    workflow: str
    version: int
    name: str
    timing: Timing
    policy: Policy
    started: int = 0
    dropped: int = 0
    last_due: float | None = None
    last_run: str = ""


class Turn(NamedTuple):
    """What a look at a schedule leads to: the due time to start a run for, or None; when to look again; how many due
    times are given up."""

    start: float | None
    next_due: float
    dropped: int


def check_schedule(workflow: str, schedule: Schedule) -> Schedule:
    """The schedule, if it means something. Raises InvalidDefinition."""
    timing, policy, where = schedule.timing, schedule.policy, f"workflow {workflow}: schedule {schedule.name!r}"
    check_id("user", schedule.user)
    check_id("tenant", schedule.tenant)
    if not schedule.name or any(sign in schedule.name for sign in "/@ \n"):
        raise InvalidDefinition(f'{where}: expected a name without space, "/" and "@"')
    if not timing.at and timing.every_s < EVERY_MIN_S:
        raise InvalidDefinition(f"{where}: expected an interval of at least {EVERY_MIN_S:g} s, saw {timing.every_s:g}")
    if timing.at:
        _check_daily(where, timing)
    if policy.missed not in get_args(Missed) or policy.overlap not in get_args(Overlap) or policy.missed_max < 1:
        raise InvalidDefinition(
            f"{where}: expected missed= to be one of {', '.join(get_args(Missed))}, overlap= one of "
            f"{', '.join(get_args(Overlap))} and missed_max= at least 1, saw {policy}"
        )
    return schedule


def next_due(timing: Timing, after_s: float) -> float:
    """The first due time behind `after_s` (epoch seconds)."""
    if not timing.at:
        return (math.floor(after_s / timing.every_s) + 1) * timing.every_s
    zone = zone_of(timing.zone)
    day = datetime.fromtimestamp(after_s, zone).date()
    while True:
        due = datetime.combine(day, time.fromisoformat(timing.at), zone).timestamp()
        if due > after_s and (not timing.days or DAYS[day.weekday()] in timing.days):
            return due
        day += timedelta(days=1)


def turn(timing: Timing, policy: Policy, due_s: float, now_s: float) -> Turn:
    """What to do about a schedule whose next due time was `due_s`. Of a policy "all": one run a turn, oldest first."""
    if due_s > now_s:
        return Turn(None, due_s, 0)
    times, dropped = _newest(timing, due_s, now_s, policy.missed_max if policy.missed == "all" else 1)
    first = times[0]
    following = next_due(timing, first)
    if policy.missed == "skip" and now_s - first > LATE_S:
        return Turn(None, following, dropped + 1)
    return Turn(first, following, dropped)


def ticket_of(name: str, due_s: float) -> str:
    """The ticket id of the run of a due time: the same whoever starts it, so that there is one."""
    return f"{name}@{iso(due_s)}"


def timing_text(timing: Timing) -> str:
    """A timing in words."""
    if not timing.at:
        return f"every {timing.every_s:g} s"
    return f"{','.join(timing.days) or 'daily'} at {timing.at} {timing.zone}"


def _newest(timing: Timing, first_s: float, now_s: float, most: int) -> tuple[list[float], int]:
    """The newest due times, at most `most`, from `first_s` to `now_s`, and how many there are before them."""
    if not timing.at:
        count = math.floor((now_s - first_s) / timing.every_s) + 1
        kept = min(count, most)
        return [first_s + (count - kept + place) * timing.every_s for place in range(kept)], count - kept
    found: deque[float] = deque(maxlen=most)
    count, due = 0, first_s
    while due <= now_s:
        found.append(due)
        count, due = count + 1, next_due(timing, due)
    return list(found), count - len(found)


def _check_daily(where: str, timing: Timing) -> None:
    try:
        time.fromisoformat(timing.at)
        zone_of(timing.zone)
    except ValueError as error:
        raise InvalidDefinition(
            f'{where}: expected a time such as "09:30" and a time zone such as "Europe/Berlin", saw {timing.at!r} and '
            f"{timing.zone!r}"
        ) from error
    if unknown := sorted(set(timing.days) - set(DAYS)):
        raise InvalidDefinition(f"{where}: expected days among {', '.join(DAYS)}, saw {', '.join(unknown)}")
