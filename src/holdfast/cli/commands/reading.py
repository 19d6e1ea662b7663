"""Commands that read runs: ps, show, locks, limits, history, events, checkpoints."""

from __future__ import annotations

from collections import deque
from typing import Annotated

import typer

from holdfast.cli.command import LOOK, command
from holdfast.cli.documents.limits import limits_of
from holdfast.cli.documents.runs import checkpoint_document, history_row, run_document, run_line
from holdfast.cli.drawing import tables
from holdfast.cli.procedures.examination import locks_of
from holdfast.cli.procedures.feed import open_feed
from holdfast.cli.session import Desk, Session
from holdfast.errors import InvalidInput
from holdfast.store.contract.records import Position, Query, Record
from holdfast.workflow.model.run import ACTIVE, ENDED, PARENT, RUN, decode_run
from holdfast.workflow.process import past
from holdfast.workflow.process.inbox import waiting_signals

PAGE = 500
RunRef = Annotated[str, typer.Argument(help="The run: your own id of it, its id, or the beginning of that.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to a program."""
    command(app, "ps", LOOK)(ps)
    command(app, "show", LOOK)(show)
    command(app, "locks", LOOK)(locks)
    command(app, "limits", LOOK)(limits)
    command(app, "history", LOOK)(history)
    command(app, "events", LOOK)(events)
    command(app, "checkpoints", LOOK, acts=True)(checkpoints)


async def ps(
    desk: Desk,
    *,
    every: Annotated[bool, typer.Option("--all", help="Also runs that have ended.")] = False,
    status: Annotated[list[str] | None, typer.Option(help="Only runs in this status; may be repeated.")] = None,
    workflow: Annotated[str | None, typer.Option(help="Only runs of this workflow.")] = None,
    parent: Annotated[str | None, typer.Option(metavar="RUN", help="Only the runs that this run started.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest ones.")] = 100,
) -> None:
    """List runs: where each is, since when, what happens next."""
    wanted = tuple(status or ()) or (ACTIVE + ENDED if every else ACTIVE)
    if unknown := sorted(set(wanted) - {*ACTIVE, *ENDED}):
        raise InvalidInput(f"--status: expected one of {', '.join(ACTIVE + ENDED)}, saw {', '.join(unknown)}")
    labels = {"workflow": workflow} if workflow else {}
    async with desk.runs() as session:
        labels |= {PARENT: (await session.stored(parent)).run.id} if parent else {}
        found = await _newest(session, Query(kind=RUN, statuses=wanted, labels=labels), limit)
        now = session.now_s
        desk.output.lines([run_line(record) for record in found], lambda rows: tables.runs_table(rows, now=now))


async def show(desk: Desk, run: RunRef) -> None:
    """Show one run: where it is, its data, timers and locks, and the exact commands that move it on."""
    async with desk.runs() as session:
        record = await session.record(run)
        stored = decode_run(record.body)
        inbox = await waiting_signals(session.runtime, stored)
        now = session.now_s
        document = run_document(record, session.built(stored), inbox)
        desk.output.one(document, lambda page: tables.run_page(page, now=now))


async def locks(
    desk: Desk,
    lock: Annotated[
        str | None, typer.Argument(help='Only what begins so, such as "repository" or "repository/company".')
    ] = None,
) -> None:
    """List the locks that are held or awaited: who holds each, for whom, since and until when, and who waits."""
    async with desk.runs() as session:
        found = [line for line in await locks_of(session.store, session.scope) if line.lock.startswith(lock or "")]
        now = session.now_s
        desk.output.lines(found, lambda lines: tables.locks_table(lines, now=now))


async def limits(
    desk: Desk,
    limit: Annotated[str | None, typer.Argument(help='Only what begins so, such as "llm" or "runs/ana".')] = None,
) -> None:
    """List the limits that were ever used: who has a place since when, who waits, and when there is room next."""
    async with desk.runs() as session:
        found = await limits_of(session.store, session.scope, begins=limit or "")
        now = session.now_s
        desk.output.lines(found, lambda lines: tables.limits_table(lines, now=now))


async def history(desk: Desk, run: RunRef) -> None:
    """Print a run's audit trail: every transition and decision, what triggered it, and who."""
    async with desk.runs() as session:
        key = decode_run((await session.record(run)).body).key
        rows = [
            history_row(event) async for event in past.journal_of(session.runtime, session.scope, key)
        ]  # fmt: skip
        desk.output.lines(rows, lambda shown: tables.history_table(shown, width=desk.output.width))


async def events(
    desk: Desk,
    run: Annotated[str | None, typer.Argument(help="Only this run's; without it, all of --user's.")] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    after: Annotated[
        str | None, typer.Option(metavar="POSITION", help='Only what comes behind this position, such as "1:42".')
    ] = None,
) -> None:
    """Print committed events in order, of one run or of one user."""
    behind = Position.parse(after) if after else None
    async with desk.runs() as session:
        settings = desk.settings
        feed = await open_feed(session, tenant=settings.tenant, user=settings.user, run=run, after=behind)
        tick = 0
        while True:
            if follow:
                tick = await session.store.wait(tick)
            async for document in feed.news():
                if desk.output.is_json:
                    desk.output.json(document)
                else:
                    desk.output.flow(tables.events_line(document))
            if not follow:
                return


async def checkpoints(
    desk: Desk,
    run: RunRef,
    *,
    keep: Annotated[str | None, typer.Option(metavar="NAME", help="First keep the present state under a name.")] = None,
) -> None:
    """List the versions of a run that can be forked, or name the present one."""
    async with desk.runs() as session:
        run_id = (await session.record(run)).key.id
        if keep is not None:
            await session.client.checkpoint(run_id, keep)
        found = await session.client.checkpoints(run_id)
        desk.output.lines([checkpoint_document(each) for each in found], tables.checkpoints_table)


async def _newest(session: Session, query: Query, limit: int) -> list[Record]:
    """The last `limit` runs that the query finds, oldest first: ids sort by the time of their making."""
    found: deque[Record] = deque(maxlen=limit)
    after: str | None = None
    while True:
        page = await session.store.scan(session.scope, query, after=after, limit=PAGE)
        found.extend(page.records)
        if page.next is None:
            return list(found)
        after = page.next
