"""The shape of a schedule that `--json` prints."""

from __future__ import annotations

import msgspec

from holdfast.cli.documents.runs import iso_or_none
from holdfast.store.contract.records import Record
from holdfast.workflow.model.scheduling import timing_text
from holdfast.workflow.recovery.scheduler import state_of


class ScheduleLine(msgspec.Struct, frozen=True, kw_only=True):
    """One schedule in one line. `due`: the next due time; `dropped`: due times that had no run; `status`: active or
    paused; `version`: of the workflow that declares it."""

    schedule: str
    user: str
    status: str
    when: str
    due: str | None
    missed: str
    overlap: str
    started: int
    dropped: int
    last_due: str | None
    last_run: str
    version: int


def schedule_line(record: Record) -> ScheduleLine:
    """The line of a schedule's record."""
    state = state_of(record)
    return ScheduleLine(
        schedule=record.key.id,
        user=record.key.user,
        status=record.status,
        when=timing_text(state.timing),
        due=iso_or_none(record.due),
        missed=state.policy.missed,
        overlap=state.policy.overlap,
        started=state.started,
        dropped=state.dropped,
        last_due=iso_or_none(state.last_due),
        last_run=state.last_run,
        version=state.version,
    )
