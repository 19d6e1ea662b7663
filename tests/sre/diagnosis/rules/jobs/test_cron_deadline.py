"""`cron-deadline`: the deadline is shorter than the controller's pace, and runs are missed."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.jobs.worlds import cron
from tests.sre.diagnosis.worlds import found


def test_a_deadline_that_is_shorter_than_the_controllers_pace_and_missed() -> None:
    world = cron(deadline=5)
    assert not found(world.snapshot(), "cron-deadline")
    world.event(Ref("CronJob", "count"), "MissSchedule", "Missed scheduled time to start a job")
    assert found(world.snapshot(), "cron-deadline")


def test_a_deadline_that_leaves_time_is_not_blamed_for_what_was_missed() -> None:
    world = cron(deadline=60)
    world.event(Ref("CronJob", "count"), "MissSchedule", "Missed scheduled time to start a job")
    assert not found(world.snapshot(), "cron-deadline")
