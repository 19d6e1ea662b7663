"""`cron-schedule`: the schedule does not have five fields in their bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_sre.diagnosis.rules.jobs.cron_schedule import is_schedule
from tests.sre.diagnosis.rules.jobs.worlds import cron
from tests.sre.diagnosis.worlds import found


def test_a_cron_job_with_no_schedule() -> None:
    assert found(cron("0 3 * *").snapshot(), "cron-schedule")
    assert not found(cron().snapshot(), "cron-schedule")


@pytest.mark.parametrize(
    "text", ["0 3 * * *", "*/5 * * * *", "0 0 1,15 * MON-FRI", "@hourly", "CRON_TZ=Europe/Rome 0 6 * * *", "@every 5m"]
)
def test_a_schedule_is_one(text: str) -> None:
    assert is_schedule(text)


@pytest.mark.parametrize("text", ["", "0 3 * *", "61 3 * * *", "0 25 * * *", "every day", "* * * * * *", "@sometimes"])
def test_what_is_no_schedule_is_none(text: str) -> None:
    assert not is_schedule(text)


@given(st.text(max_size=300))
def test_no_text_breaks_the_reading_of_a_schedule(text: str) -> None:
    assert is_schedule(text) in (True, False)
