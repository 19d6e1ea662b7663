"""Backups by a schedule: one after the other until it is stopped, each verified, the newest N kept.

The files are the memory: what lies in the folder under a dated name is a good backup, and nothing else is. One schedule
a folder, held by a file lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec

from holdfast.cli import timetable
from holdfast.cli.documents.keeping import BackupLine, DrillDocument
from holdfast.cli.documents.runs import iso
from holdfast.cli.procedures.drill import drill
from holdfast.clock import Clock, monotonic_s, system_randomness
from holdfast.errors import Corrupt, HoldfastError, InvalidInput, Rejected, Unavailable
from holdfast.ids import uuid7
from holdfast.logs import get_logger
from holdfast.store.contract.protocol import OpenStore
from holdfast.store.contract.records import Verification
from holdfast.store.liveness import FileLiveness, Life
from holdfast.store.sqlite import archive
from holdfast.store.upkeep.backups import LastBackup, note_backup, note_failure
from holdfast.tasks import Supervisor

LOOK_S = 15.0
"""The clock is looked at this often while nothing is due: a machine that slept has counted no seconds meanwhile."""
ON_TRIAL = ".trial"
FAILED = ".failed"
HOLDER = "holdfast-backups"

log = get_logger("holdfast.backups")

Opened = Callable[[], AbstractAsyncContextManager[OpenStore]]


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A good backup."""

    place: Path
    at_s: float
    took_s: float
    found: Verification
    drill: DrillDocument | None
    is_noted: bool


async def make(store: OpenStore, place: Path, *, clock: Clock, is_drilled: bool, every_s: float | None) -> Made:
    """A backup in `place`, verified, drilled if that is wanted, and noted in the store.

    It has its name only once all of that went well. Raises what `backup` raises, and Corrupt for a failed drill.
    """
    at_s, began_s = clock.time_s(), monotonic_s()
    written = place.with_name(place.name + ON_TRIAL) if is_drilled else place
    drilled = None
    try:
        found = await store.backup(written)
        if is_drilled:
            drilled = await _tried(written, place, now_s=clock.time_s())
    finally:
        if is_drilled:
            written.unlink(missing_ok=True)
    took_s = monotonic_s() - began_s
    last = LastBackup(
        at=at_s,
        took_s=took_s,
        place=_told(place),
        records=found.records,
        events=found.events,
        was_drilled=is_drilled,
        every_s=every_s,
    )
    is_noted = await _noted(lambda: note_backup(store, last, change_id=_change_id(clock)))
    return Made(place=place, at_s=at_s, took_s=took_s, found=found, drill=drilled, is_noted=is_noted)


def delete_old(folder: Path, keep: int | None) -> list[str]:
    """Delete all but the newest `keep` dated backups of a folder (None keeps all); the names of those that went."""
    gone = []
    for name in timetable.to_delete(_names(folder), keep=keep) if keep is not None else ():
        try:
            (folder / name).unlink()
        except OSError as error:  # the backup that was just made is good all the same
            log.warning("old backup stays", place=str(folder / name), error=str(error))
            continue
        gone.append(name)
    return gone


def newest_in(folder: Path) -> Path | None:
    """The newest dated backup of a folder."""
    newest = timetable.newest_first(_names(folder))
    return folder / newest[0] if newest else None


class Schedule:
    """Backups into `folder` every `every_s` seconds. `opened` gives the store, anew for each; `tell` hears of each."""

    def __init__(
        self,
        folder: Path,
        *,
        every_s: float,
        keep: int | None,
        is_drilled: bool,
        opened: Opened,
        clock: Clock,
        tell: Callable[[BackupLine], None],
    ) -> None:
        self._folder = folder
        self._every_s = every_s
        self._keep = keep
        self._is_drilled = is_drilled
        self._opened = opened
        self._clock = clock
        self._tell = tell
        self._failure: HoldfastError | None = None

    async def run(self, stop: asyncio.Event) -> HoldfastError | None:
        """Take backups until `stop` is set, and finish the one under way; why the last one failed, if it did."""
        life = self._hold()
        try:
            self._clear_up()
            newest = timetable.newest_first(_names(self._folder))
            newest_at_s = timetable.time_of(newest[0]) if newest else None
            due_s = timetable.first_due(newest_at_s, self._clock.time_s(), every_s=self._every_s)
            while await self._rest(due_s, stop):
                due_s = await self._once(due_s)
        finally:
            life.release()
        return self._failure

    async def _rest(self, due_s: float, stop: asyncio.Event) -> bool:
        """Until it is time; False once it was stopped."""
        tasks = Supervisor("backups", on_failure=lambda name, error: None)
        stopped = tasks.start(stop.wait(), name="stop")
        try:
            while not stop.is_set():
                due_s = timetable.still_due(due_s, self._clock.time_s(), every_s=self._every_s)
                left_s = due_s - self._clock.time_s()
                if left_s <= 0:
                    return True
                asleep = tasks.start(self._clock.sleep(min(left_s, LOOK_S)), name="sleep")
                await asyncio.wait({asleep, stopped}, return_when=asyncio.FIRST_COMPLETED)
            return False
        finally:
            await tasks.stop()

    async def _once(self, due_s: float) -> float:
        """One try; when the next one is due."""
        began_s = self._clock.time_s()
        place = self._folder / timetable.name_of(began_s)
        made: Made | None = None
        is_noted = False
        try:
            async with self._opened() as store:
                made = await make(store, place, clock=self._clock, is_drilled=self._is_drilled, every_s=self._every_s)
            self._failure, is_noted = None, made.is_noted
        except HoldfastError as error:
            self._failure = error
            log.error("backup failed", place=str(place), error=error.message)
            is_noted = await self._note_failure(error, began_s)
        next_s = timetable.next_due(due_s, self._clock.time_s(), every_s=self._every_s, is_good=made is not None)
        self._tell(
            BackupLine(
                at=iso(began_s),
                is_good=made is not None,
                place=str(place),
                records=made.found.records if made else 0,
                events=made.found.events if made else 0,
                took_s=round(made.took_s, 3) if made else 0.0,
                error="" if self._failure is None else self._failure.message,
                deleted=tuple(delete_old(self._folder, self._keep)) if made else (),
                next_at=iso(next_s),
                is_noted=is_noted,
                drill=made.drill if made else None,
            )
        )
        return next_s

    async def _note_failure(self, error: HoldfastError, at_s: float) -> bool:
        async def note() -> None:
            async with self._opened() as store:
                await note_failure(
                    store, error.message, at=at_s, every_s=self._every_s, change_id=_change_id(self._clock)
                )

        return await _noted(note)

    def _hold(self) -> Life:
        """The right to this folder: two schedules in one would delete each other's backups."""
        try:
            return FileLiveness(self._folder).hold(HOLDER)
        except Unavailable as error:
            raise Rejected(
                f"backup: expected {self._folder} to be this schedule's alone, saw another at work on it, or cannot "
                f"look ({error.message}); give each its own folder"
            ) from error

    def _clear_up(self) -> None:
        """Remove what a schedule that was killed left half written."""
        for left in self._folder.glob("holdfast-*.backup.*"):
            if left.name.partition(".backup")[2].startswith((archive.PARTIAL, ON_TRIAL)):
                with contextlib.suppress(OSError):
                    left.unlink()


async def _tried(written: Path, place: Path, *, now_s: float) -> DrillDocument:
    """Restore a backup on trial; where that goes well it gets its name, else it is kept aside for whoever looks."""
    try:
        drilled = await drill(written, now_s=now_s)
        if not drilled.is_good:
            raise Corrupt(f"{place.name}: its drill found {drilled.problem_count} problems: {drilled.problems[0]}")
        archive.into_place(written, place)
    except HoldfastError:
        _keep_aside(written, place)
        raise
    except OSError as error:
        raise Unavailable(f"backup {place}: the disk refuses ({error}); check its folder") from error
    return drilled


def _keep_aside(written: Path, place: Path) -> None:
    """The last failed one stays, and no more than that: they must not fill the disk."""
    with contextlib.suppress(OSError):
        for earlier in place.parent.glob(f"holdfast-*.backup{FAILED}"):
            earlier.unlink()
        written.replace(place.with_name(place.name + FAILED))


async def _noted(note: Callable[[], Awaitable[None]]) -> bool:
    """Whether the store took the note: where it cannot, its backup is as good."""
    try:
        await note()
    except HoldfastError as error:
        log.warning("backup is not noted in the store", error=error.message)
        return False
    return True


def _told(place: Path) -> str:
    return f"{socket.gethostname()}:{place.absolute()}"


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise InvalidInput(f"backup: expected a folder to keep backups in, saw none at {folder.absolute()}") from error


def _change_id(clock: Clock) -> str:
    return f"backup:{uuid7(clock, system_randomness())}"
