"""Deadlines that pass while no process is there: the clock of the next one is ahead, nobody waits for real."""

from __future__ import annotations

from tests.engine.crash.findings import Found, examine
from tests.engine.crash.processes import ON_SQLITE, Stage

HOUR_S = 3600.0
pytestmark = ON_SQLITE  # time is the engine's, whatever the store


def test_a_deadline_that_passed_while_the_process_was_down_fires_once(stage: Stage) -> None:
    """Down from the start to 49 h: the wait of 48 h is over, once, although the next process is opened twice; the
    wait of 24 h that begins then is counted from then, not from the deadline that was missed."""
    stage.start("deadlines", starts=1, dies=True).until_killed()
    for hours in (49, 49):
        stage.run("deadlines", shift_s=hours * HOUR_S)
    found = examine(stage.url)["T-0"]
    assert _timeouts(found) == [("asked", "reminded")]
    assert _asked(stage) == ["remind"]
    stage.run("deadlines", shift_s=72.5 * HOUR_S)
    assert _timeouts(examine(stage.url)["T-0"]) == [("asked", "reminded")]
    stage.run("deadlines", shift_s=73.5 * HOUR_S)
    found = examine(stage.url)["T-0"]
    assert _timeouts(found) == [("asked", "reminded"), ("escalating", "given_up")]
    assert found.run.outcome == "given_up"


def test_the_deadline_of_a_state_that_was_left_and_entered_again_does_not_fire(stage: Stage) -> None:
    """Asked anew at 40 h by a process that is killed: at 50 h, past the limit of the first visit, nothing happens; at
    89 h the limit of the second visit is over."""
    stage.start("deadlines", starts=2, dies=True).until_killed()
    stage.start("deadlines", holds=("anew",), shift_s=40 * HOUR_S).until_killed()
    stage.run("deadlines", shift_s=50 * HOUR_S)
    found = examine(stage.url)
    assert _timeouts(found["T-0"]) == []
    assert _timeouts(found["T-1"]) == [("asked", "reminded")], "the other run's limit was not touched"
    stage.run("deadlines", shift_s=89 * HOUR_S)
    assert _timeouts(examine(stage.url)["T-0"]) == [("asked", "reminded")]


def _timeouts(found: Found) -> list[tuple[str, str]]:
    return [(row.source, row.target) for row in found.rows if row.trigger == "timeout"]


def _asked(stage: Stage) -> list[str]:
    return [line.what for line in stage.ledger.lines() if line.key]
