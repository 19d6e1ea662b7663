"""Commands about schedules: schedules, pause-schedule, resume-schedule."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.cli.command import DECIDE, LOOK, command
from holdfast.cli.documents.schedules import schedule_line
from holdfast.cli.drawing import tables
from holdfast.cli.session import Desk, Session
from holdfast.errors import Conflict, NotFound, Rejected, Unavailable
from holdfast.store.contract.records import Change, Query, Record
from holdfast.workflow.model.schedule import SCHEDULE
from holdfast.workflow.recovery.scheduler import paused

SCHEDULES_MAX = 1000
ATTEMPTS_MAX = 20
ScheduleRef = Annotated[
    str, typer.Argument(metavar="SCHEDULE", help="The schedule, as `schedules` lists it: workflow/name.")
]


def add_to(app: typer.Typer) -> None:
    """Add these commands to a program."""
    command(app, "schedules", LOOK)(schedules)
    command(app, "pause-schedule", DECIDE)(pause_schedule)
    command(app, "resume-schedule", DECIDE)(resume_schedule)


async def schedules(desk: Desk) -> None:
    """List schedules: when each is due next, how many runs it started, and how many due times had none."""
    async with desk.runs() as session:
        await _print(desk, session, await _found(session))


async def pause_schedule(desk: Desk, schedule: ScheduleRef) -> None:
    """Let a schedule's due times pass without runs, until it is resumed."""
    await _set(desk, schedule, is_paused=True)


async def resume_schedule(desk: Desk, schedule: ScheduleRef) -> None:
    """Let a paused schedule start runs again, from its next due time on."""
    await _set(desk, schedule, is_paused=False)


async def _set(desk: Desk, ref: str, *, is_paused: bool) -> None:
    async with desk.runs() as session:
        for _ in range(ATTEMPTS_MAX):
            write = paused(await _one(session, ref), is_paused=is_paused)
            change = Change(change_id=session.runtime.change_id(), writes=(write,))
            try:
                await session.runtime.commit(session.scope, change)
            except Conflict:
                continue  # an engine wrote its next due time just then
            await _print(desk, session, [await _one(session, ref)])
            return
    raise Unavailable(f"schedule {ref}: it changed {ATTEMPTS_MAX} times meanwhile; try again")


async def _found(session: Session) -> list[Record]:
    page = await session.store.scan(session.scope, Query(kind=SCHEDULE), limit=SCHEDULES_MAX)
    return list(page.records)


async def _one(session: Session, ref: str) -> Record:
    known = await _found(session)
    found = [record for record in known if record.key.id == ref]
    if not found:
        names = ", ".join(sorted(record.key.id for record in known)) or "none"
        raise NotFound(f"schedule {ref}: there is no such schedule; there are: {names}")
    if len(found) > 1:
        users = ", ".join(sorted(record.key.user for record in found))
        raise Rejected(f"schedule {ref}: several users have one of this name: {users}; say which with --user")
    return found[0]


async def _print(desk: Desk, session: Session, records: list[Record]) -> None:
    now = session.now_s
    lines = [schedule_line(record) for record in records]
    desk.output.lines(lines, lambda shown: tables.schedules_table(shown, now=now))
