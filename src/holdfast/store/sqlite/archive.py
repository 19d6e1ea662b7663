"""Backups: a SQLite file of the same schema, whatever store it was taken of, verified before it gets its name.

So a backup of one kind of store restores into another. A restore starts a new incarnation of every stream, for whoever
holds a position from the lost future must not take what comes now for what he has seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from holdfast.clock import system_time_s
from holdfast.errors import Corrupt, InvalidInput, Rejected, Unavailable
from holdfast.store.contract.history import History, Stream
from holdfast.store.contract.protocol import Snapshot
from holdfast.store.contract.records import Key, Verification
from holdfast.store.sqlite import inspection, schema, tables
from holdfast.store.sqlite.errors import translated
from holdfast.store.sqlite.snapshot import SqliteSnapshot
from holdfast.store.upkeep.contents import Contents

T = TypeVar("T")

PAGE_KEYS = 500
"""How many records, with their journals, are in memory at once."""
PARTIAL = ".partial"
"""What the name of a backup ends with until it is whole and verified."""
TABLES = ("records", "events", "streams", "anchors")


def write(to: Path, fill: Callable[[sqlite3.Connection], None]) -> Verification:
    """A backup in `to`, filled by `fill`. What was there is replaced only by a whole and verified one."""
    with _disk_refusals(to):
        return _write(to, fill)


@contextlib.contextmanager
def _disk_refusals(to: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"backup {to}: the disk refuses ({error}); check its space, and that its folder may be written",
            path=str(to),
        ) from error


def _write(to: Path, fill: Callable[[sqlite3.Connection], None]) -> Verification:
    partial = to.with_name(to.name + PARTIAL)
    partial.unlink(missing_ok=True)
    taken_at_s = system_time_s()  # before the view of it, so that nothing newer than this is promised
    try:
        connection = schema.connect(partial, "rwc")
        with contextlib.closing(connection), translated(partial):
            fill(connection)
            connection.execute(_TAKEN, (tables.microseconds(taken_at_s),))
            connection.execute("PRAGMA journal_mode = DELETE")  # one file, readable where nothing can be written
            found = _verified(connection, partial)
        into_place(partial, to)
    finally:
        partial.unlink(missing_ok=True)
    return found


async def write_snapshot(to: Path, view: Snapshot) -> Verification:
    """A backup in `to` of what `view` shows, in pages, so that a big store takes little memory."""
    with _disk_refusals(to):
        return await _write_snapshot(to, view)


async def _write_snapshot(to: Path, view: Snapshot) -> Verification:
    partial = to.with_name(to.name + PARTIAL)
    partial.unlink(missing_ok=True)
    taken_at_s = system_time_s()
    try:
        with translated(partial):
            connection = await in_thread(lambda: schema.connect(partial, "rwc"))
            try:
                await in_thread(lambda: schema.prepare(connection, partial))
                async for page in pages_of(view):
                    await in_thread(functools.partial(_add, connection, page))
                streams = await view.streams()
                await in_thread(lambda: _finish(connection, streams, view.incarnation, taken_at_s))
                found = await in_thread(lambda: _verified(connection, partial))
            finally:
                connection.close()
        into_place(partial, to)
    finally:
        partial.unlink(missing_ok=True)
    return found


async def pages_of(view: Snapshot) -> AsyncIterator[list[History]]:
    """The histories of `view`, some at a time."""
    page: list[History] = []
    async for history in view.histories():
        page.append(history)
        if len(page) == PAGE_KEYS:
            yield page
            page = []
    if page:
        yield page


@contextlib.asynccontextmanager
async def viewed(source: Path) -> AsyncIterator[Snapshot]:
    """What a backup holds, in pages."""
    view = SqliteSnapshot(source, None)
    try:
        yield await view.begin()
    finally:
        await view.end()


async def in_thread(work: Callable[[], T]) -> T:
    """`work` beside the loop."""
    return await asyncio.get_running_loop().run_in_executor(None, work)


def verify(source: Path) -> Verification:
    """What a backup holds, all of it checked. Raises Corrupt for a damaged one, Unavailable for another schema."""
    with opened(source) as connection, translated(source):
        return _verified(connection, source)


def taken_at_s(source: Path) -> float:
    """When a backup was taken (epoch seconds of the machine that took it); what happened since is not in it."""
    with opened(source) as connection, translated(source):
        for (value,) in connection.execute("SELECT value FROM meta WHERE name = 'taken_at_us'"):
            return float(value) / 1_000_000
    return source.stat().st_mtime  # of a version that did not say


def tenants(source: Path) -> list[str]:
    """Whose records, journals and streams a backup holds."""
    parts = " UNION ".join(f"SELECT tenant FROM {table}" for table in ("records", "events", "streams"))
    with opened(source) as connection, translated(source):
        return [tenant for (tenant,) in connection.execute(f"{parts} ORDER BY tenant")]


@contextlib.contextmanager
def opened(source: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a backup, for reading."""
    with contextlib.closing(schema.connect(source, "ro")) as connection:
        with translated(source):
            schema.check_version(connection, source)
        yield connection


def save(contents: Contents, connection: sqlite3.Connection, path: Path) -> None:
    """Write `contents` into a new file."""
    schema.migrate(connection, path)
    with schema.transaction(connection):
        records = [row.record for row in contents.rows.values() if row.record is not None]
        tables.put_rows(connection, records, contents.rows)
        for journal in contents.journals.values():
            tables.put_events(connection, journal)
        tables.put_streams(connection, contents.streams)
        connection.executemany(
            "INSERT INTO anchors (tenant, user, kind, id, digest) VALUES (?, ?, ?, ?, ?)",
            [(*key, digest) for key, digest in contents.anchors.items()],
        )
        _set_incarnation(connection, contents.incarnation)


def loaded(connection: sqlite3.Connection, *, incarnation: int) -> Contents:
    """All that a backup holds, in memory, in an incarnation later than its own and than `incarnation`."""
    contents = Contents(incarnation=max(incarnation, inspection.incarnation_of(connection)) + 1)
    for values in connection.execute(f"SELECT {tables.RECORD} FROM records"):
        row = tables.row_from(values)
        assert row.record is not None, "a row of all columns has a record"
        contents.put(row.record.key, row)
    for values in connection.execute(f"SELECT {tables.EVENT} FROM events ORDER BY incarnation, seq"):
        contents.append(tables.event_from(values))
    contents.streams.update(inspection.streams(connection))
    for tenant, user, kind, id_, digest in connection.execute("SELECT tenant, user, kind, id, digest FROM anchors"):
        contents.anchors[Key(tenant, user, kind, id_)] = digest
    return contents


def replace(connection: sqlite3.Connection, source: sqlite3.Connection, *, overwrite: bool) -> None:
    """Make a store hold what `source` holds, inside the store's transaction. Raises Rejected if it is not empty."""
    if not overwrite:
        check_empty(is_empty=not any(_count(connection, table) for table in ("records", "events")))
    incarnation = max(inspection.incarnation_of(connection), inspection.incarnation_of(source)) + 1
    for table in TABLES:
        connection.execute(f"DELETE FROM {table}")
        columns = _columns(source, table)
        marks = ", ".join("?" * len(columns))
        names = ", ".join(columns)
        rows = source.execute(f"SELECT {names} FROM {table}")
        connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)
    _set_incarnation(connection, incarnation)


def check_empty(*, is_empty: bool) -> None:
    """Raises Rejected for a store that a restore would overwrite."""
    if not is_empty:
        raise Rejected("restore: expected an empty store, saw records in it; say overwrite (--overwrite) to lose them")


def check_elsewhere(to: Path, own: Path) -> None:
    """Raises InvalidInput for a backup that would be written over the store itself."""
    if to.absolute() == own or (to.exists() and own.exists() and to.samefile(own)):
        raise InvalidInput(f"backup: expected another file than the store's own, saw {to}", path=str(to))


def _add(connection: sqlite3.Connection, page: Sequence[History]) -> None:
    with schema.transaction(connection):
        inspection.load(connection, page)


def _finish(connection: sqlite3.Connection, streams: Mapping[Stream, int], incarnation: int, taken_at_s: float) -> None:
    with schema.transaction(connection):
        inspection.adopt(connection, streams, incarnation)
        connection.execute(_TAKEN, (tables.microseconds(taken_at_s),))
    connection.execute("PRAGMA journal_mode = DELETE")  # one file, readable where nothing can be written


def _set_incarnation(connection: sqlite3.Connection, incarnation: int) -> None:
    connection.execute("UPDATE meta SET value = ? WHERE name = 'incarnation'", (incarnation,))


def _verified(connection: sqlite3.Connection, path: Path) -> Verification:
    found = inspection.verify(connection)
    if not found.is_clean:
        raise Corrupt(
            f"{path}: expected a sound backup, saw {len(found.problems)} problems, the first: {found.problems[0]}",
            path=str(path),
            problems=[str(problem) for problem in found.problems],
        )
    return found


def into_place(partial: Path, to: Path) -> None:
    """Give a whole file its name, durably. Raises OSError."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(to)
    folder = os.open(to.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def _count(connection: sqlite3.Connection, table: str) -> int:
    count: int = connection.execute(f"SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT 1)").fetchone()[0]
    return count


_TAKEN = """
    INSERT INTO meta (name, value) VALUES ('taken_at_us', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"""
