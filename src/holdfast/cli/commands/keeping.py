"""Commands for whoever keeps the store: verify, repair, trim, doctor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from holdfast.cli.command import KEEP, LOOK, command
from holdfast.cli.documents.keeping import repair_document, trim_document, verification_document
from holdfast.cli.documents.runs import doctor_document
from holdfast.cli.drawing import tables
from holdfast.cli.health import diagnose
from holdfast.cli.procedures.examination import check_alone, examine
from holdfast.cli.rules import CORRUPT, REFUSED
from holdfast.cli.session import Desk
from holdfast.clock import SystemClock, system_randomness
from holdfast.ids import uuid7
from holdfast.observe.rules import Status
from holdfast.store.contract.place import without_secret
from holdfast.store.contract.records import Verification
from holdfast.workflow.upkeep.removing import Remover
from holdfast.workflow.upkeep.retention import KEEP_WHOLE, Removed, Retention


def add_to(app: typer.Typer) -> None:
    """Add these commands to a program."""
    command(app, "verify", KEEP, is_scoped=False)(verify)
    command(app, "repair", KEEP, is_scoped=False)(repair)
    command(app, "trim", KEEP, is_scoped=False)(trim)
    command(app, "doctor", LOOK, is_scoped=False)(doctor)


def tell_verification(desk: Desk, place: str, found: Verification) -> None:
    """Say what was counted and found; where something is wrong, the exit code says so, too."""
    desk.output.one(verification_document(place, found), tables.verification_page)
    if not found.is_clean:
        raise typer.Exit(CORRUPT)


async def verify(desk: Desk) -> None:
    """Recompute every digest and chain of the store; exit code 4 and the problems where one does not fit."""
    async with desk.opened() as store:
        tell_verification(desk, without_secret(desk.settings.store), await store.verify())


async def repair(desk: Desk) -> None:
    """Put in order what `verify` finds damaged, as far as anything sound tells; exit code 4 where something is left."""
    async with desk.opened() as store:
        await check_alone(store, "repair")
        done = await store.repair()
        found = await store.verify()
    place = without_secret(desk.settings.store)
    desk.output.one(repair_document(place, done, found), tables.repair_page)
    if not found.is_clean:
        raise typer.Exit(CORRUPT)


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
    document = trim_document(without_secret(desk.settings.store), removed, before_s=before_s, is_dry_run=is_dry_run)
    desk.output.one(document, tables.trim_line)


async def doctor(desk: Desk) -> None:
    """Look at the whole store: what is well, what is not, and what to do; exit code 1 where something needs you."""
    async with desk.opened() as store:
        facts = await examine(store)
        document = doctor_document(diagnose(facts), facts)
        now = store.now_s()
    desk.output.one(document, lambda page: tables.doctor_page(page, now=now))
    if document.status == Status.RED.value:
        raise typer.Exit(REFUSED)


def _change_ids() -> Callable[[], str]:
    """Ids for changes, unique for ever."""
    clock, randomness = SystemClock(), system_randomness()
    return lambda: f"trim:{uuid7(clock, randomness)}"
