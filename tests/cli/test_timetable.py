"""Backups are due on a grid, whatever they take and whatever sleeps; only what is old and superseded goes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli.timetable import first_due, name_of, newest_first, next_due, still_due, time_of, to_delete

T0 = 1_767_225_600.0
HOUR = 3600.0

times = st.integers(0, 2**32 - 1).map(float)
intervals = st.floats(1.0, 1e6)
delays = st.floats(0.0, 1e7)


def test_a_name_tells_its_time_and_sorts_by_it() -> None:
    assert name_of(T0) == "holdfast-20260101-000000.backup"
    assert time_of(name_of(T0)) == T0
    for other in (
        "holdfast-20260101-000000.backup.partial", "holdfast-20260101-000000.backup.failed", "runs.backup",
        "holdfast-20261301-000000.backup", "holdfast-20260101-000000.backup.trial",
    ):  # fmt: skip
        assert time_of(other) is None


@given(st.lists(times, max_size=8), st.integers(1, 4))
def test_the_newest_stay_and_what_is_no_good_backup_is_not_touched(taken: list[float], keep: int) -> None:
    names = {name_of(at) for at in taken}
    others = {"notes.txt", "runs.db", "holdfast-20260101-000000.backup.failed", "holdfast-99999999-999999.backup"}
    gone = to_delete(names | others, keep=keep)
    left = names - set(gone)
    assert set(gone) <= names
    assert len(left) == min(keep, len(names))
    assert all(mine > other for mine in left for other in gone)
    assert newest_first(names)[:1] == sorted(left, reverse=True)[:1]


def test_a_schedule_begins_at_once_unless_there_is_a_young_one() -> None:
    assert first_due(None, T0, every_s=HOUR) == T0
    assert first_due(T0 - 600, T0, every_s=HOUR) == T0 + 3000
    assert first_due(T0 - 2 * HOUR, T0, every_s=HOUR) == T0
    assert first_due(T0 + 9 * HOUR, T0, every_s=HOUR) == T0 + HOUR, "one from the future says nothing"


def test_the_grid_does_not_drift_and_what_was_slept_through_is_caught_up_by_one() -> None:
    assert next_due(T0, T0 + 90, every_s=HOUR, is_good=True) == T0 + HOUR, "however long it took"
    assert next_due(T0, T0 + 7.5 * HOUR, every_s=HOUR, is_good=True) == T0 + 8 * HOUR, "a lid that was shut"
    assert next_due(T0, T0 + HOUR, every_s=HOUR, is_good=True) == T0 + 2 * HOUR


def test_a_failure_is_tried_again_sooner_but_no_later_than_ever() -> None:
    assert next_due(T0, T0 + 10, every_s=HOUR, is_good=False) == T0 + 10 + 360
    assert next_due(T0, T0 + 3590, every_s=HOUR, is_good=False) == T0 + HOUR


@given(times, delays, intervals, st.booleans())
def test_the_next_is_always_ahead_and_within_one_interval(due: float, late: float, every: float, is_good: bool) -> None:
    now = due + late
    following = next_due(due, now, every_s=every, is_good=is_good)
    assert now - 1e-3 <= following <= now + every + 1e-3
    if is_good:
        steps = (following - due) / every
        assert abs(steps - round(steps)) < 1e-3, "on the grid of the first"


def test_a_clock_that_is_set_back_stops_no_schedule() -> None:
    assert still_due(T0 + HOUR, T0 - 24 * HOUR, every_s=HOUR) == T0 - 23 * HOUR
    assert still_due(T0 + 60, T0, every_s=HOUR) == T0 + 60
