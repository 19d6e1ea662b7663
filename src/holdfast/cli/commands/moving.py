"""The command that moves: one store copied into another, whatever their kinds."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from holdfast.cli.command import KEEP, URLS, command
from holdfast.cli.documents.keeping import MigrationDocument
from holdfast.cli.drawing import tables
from holdfast.cli.output import console_on
from holdfast.cli.procedures.examination import check_alone
from holdfast.cli.session import Desk
from holdfast.clock import SystemClock, monotonic_s, system_randomness
from holdfast.ids import uuid7
from holdfast.store.contract.place import without_secret
from holdfast.store.contract.records import Verification
from holdfast.store.upkeep import copy


def add_to(app: typer.Typer) -> None:
    """Add this command to a program."""
    command(app, "migrate", KEEP, is_scoped=False, has_store=False)(migrate)


async def migrate(
    desk: Desk,
    source: Annotated[str, typer.Argument(metavar="FROM", help=f"The store to copy: {URLS}.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The store to copy it into, empty or not there yet.")],
    *,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Lose what the target holds now.")] = False,
) -> None:
    """Copy a store into another, of any kind, proven record by record; started again, it goes on where it was."""
    began_s = monotonic_s()
    async with desk.opened(source) as ours, desk.opened(target, must_exist=False) as theirs:

        async def check() -> None:
            await check_alone(ours, "migrate")
            await check_alone(theirs, "migrate")

        with _Bar(is_shown=not desk.output.is_json) as bar:
            done = await copy.copy(
                ours,
                theirs,
                attempt=uuid7(SystemClock(), system_randomness()),
                overwrite=overwrite,
                check=check,
                on_progress=bar.show,
            )
    document = MigrationDocument(
        source=without_secret(source),
        target=without_secret(target),
        records=done.records,
        events=done.events,
        written=done.written,
        removed=done.removed,
        passes=done.passes,
        is_resumed=done.is_resumed,
        took_s=round(monotonic_s() - began_s, 3),
    )
    desk.output.one(document, tables.migration_page)


class _Bar:
    """How far a copy has come, on a terminal."""

    def __init__(self, *, is_shown: bool) -> None:
        console = console_on(is_error=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed} of {task.total} records"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            auto_refresh=False,
            disable=not (is_shown and console.is_terminal),
        )
        self._task = self._progress.add_task("verifying", total=None)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, progress: copy.Progress, whole: Verification) -> None:
        """Draw where the copy is."""
        what = "copying" if progress.number == 1 else "reading back"
        self._progress.update(
            self._task, description=what, total=whole.records, completed=progress.records, refresh=True
        )
