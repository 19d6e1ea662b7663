"""The commands that take backups and bring them back: once or by a schedule, in earnest or on trial."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli.command import KEEP, command
from holdfast.cli.commands.keeping import tell_verification
from holdfast.cli.documents.keeping import BackupLine
from holdfast.cli.drawing import tables
from holdfast.cli.procedures.backup_schedule import Schedule, delete_old, make, newest_in
from holdfast.cli.procedures.drill import drill as tried
from holdfast.cli.procedures.examination import check_alone
from holdfast.cli.rules import CORRUPT
from holdfast.cli.session import Desk
from holdfast.cli.stopping import stopped_by_signals
from holdfast.cli.timetable import EVERY_MIN_S, name_of
from holdfast.clock import SystemClock, format_duration, parse_duration_s, system_randomness
from holdfast.errors import InvalidInput, NotFound
from holdfast.ids import uuid7
from holdfast.store.contract.place import without_secret
from holdfast.store.upkeep.backups import forget_schedule

NEVER = "never"


def add_to(app: typer.Typer) -> None:
    """Add these commands to a program."""
    command(app, "backup", KEEP, is_scoped=False)(backup)
    command(app, "restore", KEEP, is_scoped=False)(restore)


async def backup(
    desk: Desk,
    to: Annotated[Path, typer.Argument(help="A file to write, or a folder to write a dated one in.")],
    *,
    every: Annotated[
        str | None,
        typer.Option(metavar="TIME", help='Go on until stopped, as "1h"; "never" ends a schedule that doctor expects.'),
    ] = None,
    keep: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Delete all but the newest N dated backups of the folder.")
    ] = None,
    drill: Annotated[bool, typer.Option("--drill", help="Restore each on trial before it counts as one.")] = False,
) -> None:
    """Write a consistent copy of the store, while it is worked on, and verify it; with --every, again and again."""
    every_s = None if every in (None, NEVER) else parse_duration_s(str(every))
    if every_s is not None and every_s < EVERY_MIN_S:
        raise InvalidInput(f"--every: expected at least {EVERY_MIN_S:g} s, saw {every!r}", seen=every)
    if (every_s is not None or keep is not None) and not to.is_dir():
        raise InvalidInput(f"backup: expected a folder for dated backups, saw none at {to.absolute()}; make it")
    if every_s is not None:
        await _scheduled(desk, to, every_s=every_s, keep=keep, is_drilled=drill)
        return
    clock = SystemClock()
    place = to / name_of(clock.time_s()) if to.is_dir() else to
    if not place.parent.is_dir():
        raise InvalidInput(
            f"backup: expected a folder for {place.name}, saw none at {place.parent.absolute()}; make it"
        )
    async with desk.opened() as store:
        with _ended_by_sigterm():
            made = await make(store, place, clock=clock, is_drilled=drill, every_s=None)
        if every == NEVER:
            await forget_schedule(store, change_id=f"backup:{uuid7(clock, system_randomness())}")
    if not made.is_noted:
        desk.output.note("the store could not take a note of this backup: doctor will not know of it")
    if gone := delete_old(to, keep) if keep is not None else ():
        desk.output.note(f"deleted: {', '.join(gone)}")
    tell_verification(desk, str(place), made.found)


async def restore(
    desk: Desk,
    source: Annotated[Path, typer.Argument(help="A file that `backup` wrote, or a folder: its newest dated one.")],
    *,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Lose what the store holds now.")] = False,
    drill: Annotated[
        bool, typer.Option("--drill", help="Only try: restore into a place that goes away again, and check everything.")
    ] = False,
    against: Annotated[
        bool, typer.Option("--against", help="With --drill: what would be lost of the store as it is now.")
    ] = False,
) -> None:
    """Bring a verified backup back into an empty store, or over one that may be lost; never below a living engine."""
    place = _found(source)
    if drill:
        if overwrite:
            raise InvalidInput("restore: expected --drill, which changes no store, or --overwrite, saw both")
        await _drilled(desk, place, against=against)
        return
    if against:
        raise InvalidInput("restore: expected --against together with --drill, saw it alone")
    async with desk.opened(must_exist=False) as store:
        await check_alone(store, "restore")
        found = await store.restore(place, overwrite=overwrite)
    tell_verification(desk, without_secret(desk.settings.store), found)


async def _scheduled(desk: Desk, folder: Path, *, every_s: float, keep: int | None, is_drilled: bool) -> None:
    """Backups until SIGTERM or Ctrl-C; the exit code is that of the last one."""

    def tell(line: BackupLine) -> None:
        if desk.output.is_json:
            desk.output.json(line)
        else:
            desk.output.flow(tables.backup_flow(line))

    schedule = Schedule(
        folder,
        every_s=every_s,
        keep=keep,
        is_drilled=is_drilled,
        opened=desk.opened,
        clock=SystemClock(),
        tell=tell,
    )
    desk.output.note(f"a backup every {format_duration(every_s)} into {folder}, until Ctrl-C or SIGTERM")
    with stopped_by_signals() as stop:
        failure = await schedule.run(stop)
    if failure is not None:
        raise failure


async def _drilled(desk: Desk, place: Path, *, against: bool) -> None:
    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(desk.opened()) if against else None
        with _ended_by_sigterm():
            done = await tried(place, now_s=SystemClock().time_s(), against=store, codec=desk.codec())
    desk.output.one(done, tables.drill_page)
    if not done.is_good:
        raise typer.Exit(CORRUPT)


def _found(source: Path) -> Path:
    """The backup that is meant: the file, or the newest of a folder."""
    if source.is_dir():
        newest = newest_in(source)
        if newest is None:
            raise NotFound(f"restore: expected a dated backup in {source.absolute()}, saw none; `holdfast backup` it")
        return newest
    if not source.is_file():
        raise NotFound(f"restore: expected a file that `holdfast backup` wrote, saw none at {source.absolute()}")
    return source


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that what it made for the moment goes away."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, os.kill, os.getpid(), signal.SIGINT)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
