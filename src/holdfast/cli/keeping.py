"""Commands for whoever keeps the store: verify, backup, restore, trim, doctor."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli import documents, tables
from holdfast.cli.command import command
from holdfast.cli.examination import check_alone, examine
from holdfast.cli.rules import CORRUPT, REFUSED, diagnose
from holdfast.cli.session import Desk
from holdfast.clock import SystemClock, system_randomness, utc
from holdfast.errors import InvalidInput, NotFound
from holdfast.ids import uuid7
from holdfast.observe.rules import Status
from holdfast.store.place import without_secret
from holdfast.store.records import Verification
from holdfast.workflow.removing import Remover
from holdfast.workflow.retention import KEEP_WHOLE, Removed, Retention


def add_to(app: typer.Typer) -> None:
    """Add these commands to a program."""
    command(app, "verify", is_scoped=False)(verify)
    command(app, "backup", is_scoped=False)(backup)
    command(app, "restore", is_scoped=False)(restore)
    command(app, "trim", is_scoped=False)(trim)
    command(app, "doctor", is_scoped=False)(doctor)


async def verify(desk: Desk) -> None:
    """Recompute every digest and chain of the store; exit code 4 and the problems where one does not fit."""
    async with desk.opened() as store:
        _tell(desk, without_secret(desk.settings.store), await store.verify())


async def backup(
    desk: Desk,
    to: Annotated[Path, typer.Argument(help="A file to write, or a folder to write a dated one in.")],
) -> None:
    """Write a consistent copy of the store, while it is worked on, and verify it."""
    place = to / _dated_name() if to.is_dir() else to
    if not place.parent.is_dir():
        raise InvalidInput(
            f"backup: expected a folder for {place.name}, saw none at {place.parent.absolute()}; make it"
        )
    async with desk.opened() as store:
        _tell(desk, str(place), await store.backup(place))


async def restore(
    desk: Desk,
    source: Annotated[Path, typer.Argument(help="A file that `backup` wrote.")],
    *,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Lose what the store holds now.")] = False,
) -> None:
    """Bring a verified backup back into an empty store, or over one that may be lost; never below a living engine."""
    if not source.is_file():
        raise NotFound(f"restore: expected a file that `holdfast backup` wrote, saw none at {source.absolute()}")
    async with desk.opened(must_exist=False) as store:
        await check_alone(store, "restore")
        _tell(desk, without_secret(desk.settings.store), await store.restore(source, overwrite=overwrite))


async def trim(
    desk: Desk,
    *,
    older_than: Annotated[str, typer.Option("--older-than", metavar="DURATION", help="Keep so long, as 90d.")],
    keep: Annotated[
        int | None,
        typer.Option("--keep", metavar="N", help="Of living runs keep only the last N older journal rows as well."),
    ] = None,
    is_dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
) -> None:
    """Remove runs that ended long ago, with all that was theirs, while engines may go on working."""
    asked = Retention(keep_for=older_than, keep_rows=keep)
    async with desk.opened() as store:
        before_s = store.now_s() - asked.keep_for_s
        remover = Remover(store, before_s=before_s, change_id=_change_ids())
        if is_dry_run:
            removed = await remover.would_go(store, keep_rows=keep)
        else:
            removed = Removed()
            async for page in remover.pages():
                removed = removed.plus(page)
            rows = await store.trim(before_s=before_s, keep_per_record=keep or KEEP_WHOLE)
            removed = removed.plus(Removed(rows=rows))
    document = documents.trim_document(
        without_secret(desk.settings.store), removed, before_s=before_s, is_dry_run=is_dry_run
    )
    desk.output.one(document, tables.trim_line)


async def doctor(desk: Desk) -> None:
    """Look at the whole store: what is well, what is not, and what to do; exit code 1 where something needs you."""
    async with desk.opened() as store:
        facts = await examine(store)
        document = documents.doctor_document(diagnose(facts), facts)
        now = store.now_s()
    desk.output.one(document, lambda page: tables.doctor_page(page, now=now))
    if document.status == Status.RED.value:
        raise typer.Exit(REFUSED)


def _tell(desk: Desk, place: str, found: Verification) -> None:
    desk.output.one(documents.verification_document(place, found), tables.verification_page)
    if not found.is_clean:
        raise typer.Exit(CORRUPT)


def _change_ids() -> Callable[[], str]:
    """Ids for changes, unique for ever."""
    clock, randomness = SystemClock(), system_randomness()
    return lambda: f"trim:{uuid7(clock, randomness)}"


def _dated_name() -> str:
    now: datetime = utc(SystemClock().time_s())
    return f"holdfast-{now:%Y%m%d-%H%M%S}.backup"
