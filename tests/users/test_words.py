"""What users read: for every kind of error plain words and a next step, and nothing of the inside."""

from __future__ import annotations

import pytest

from holdfast import (
    BreakerOpen,
    BulkheadFull,
    CommitUnknown,
    Conflict,
    Corrupt,
    DeadlineExceeded,
    Fenced,
    InvalidInput,
    NotFound,
    QuotaExceeded,
    Unavailable,
    WrongContext,
)
from holdfast.users.words import notification_of

INSIDE = "postgresql://user:secret@db at 0x7f of ben"
ERRORS = [
    QuotaExceeded("quota of ana: 3 of 3 starts in 1h are used", retry_after_s=90.0),
    *(
        kind(INSIDE)
        for kind in (
            BreakerOpen,
            BulkheadFull,
            CommitUnknown,
            Conflict,
            Corrupt,
            DeadlineExceeded,
            Fenced,
            InvalidInput,
            NotFound,
            Unavailable,
            WrongContext,
            TimeoutError,
            RuntimeError,
            MemoryError,
        )
    ),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_has_words_and_a_next_step_and_tells_nothing_of_the_inside(error: Exception) -> None:
    told = notification_of(error, agent="triage", timeout_s=30, reference="req-1")
    assert told.text.startswith("triage ")
    assert told.next_step.endswith(".")
    for secret in ("secret", "postgresql", "0x7f", "ben", type(error).__name__):
        assert secret not in told.text + told.next_step
    assert ("name req-1" in told.next_step) == (told.level == "error")


def test_a_time_is_told_where_it_is_known() -> None:
    assert notification_of(ERRORS[0], agent="triage").next_step.endswith("Earliest in 1m30s.")
    late = notification_of(TimeoutError(), agent="triage", timeout_s=30)
    assert late.text == "triage did not finish within 30s and was stopped."
