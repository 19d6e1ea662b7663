"""The store in one SQLite file: the embedded default, meant for production on one machine.

WAL with `synchronous=FULL`. One writer (see `writer`) and one connection for reading, both outside the event loop.
Several processes may share the file: they take turns to write and notice each other's commits.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from holdfast import codec
from holdfast.clock import Clock, SystemClock
from holdfast.errors import Corrupt, Unavailable
from holdfast.logs import get_logger
from holdfast.store.contract.history import History, Stream
from holdfast.store.contract.protocol import Snapshot
from holdfast.store.contract.records import (
    Capabilities,
    Change,
    Claim,
    Commit,
    Event,
    Key,
    Page,
    Position,
    Query,
    Record,
    Scope,
    Verification,
)
from holdfast.store.decisions import gate, paging
from holdfast.store.decisions.rules import claimed, row_of
from holdfast.store.rows.digest import checked, checked_event
from holdfast.store.sqlite import archive, inspection, schema, select, tables
from holdfast.store.sqlite.errors import translated
from holdfast.store.sqlite.reader import Reader
from holdfast.store.sqlite.snapshot import SqliteSnapshot
from holdfast.store.sqlite.turn import Turn
from holdfast.store.sqlite.writer import Writer
from holdfast.store.writing.wakeup import Wakeup

T = TypeVar("T")
log = get_logger(__name__)

TURN_TIMEOUT_S = 5.0
"""How long a process waits for its turn to write before it says who holds the file."""
POLL_FIRST_S = 0.005
POLL_LAST_S = 0.25
"""Bounds on the pause between two looks for other processes' commits, while somebody waits."""


class SqliteStore:
    """A `Store` in the file `path`, which is made if it is not there. `process` is how peers name this process.

    `executor` runs what blocks; without one the store has two threads of its own. Raises `Unavailable` (newer schema,
    locked, not writable), `InvalidInput` (another program's file, no folder) and `Corrupt` (not SQLite).
    """

    def __init__(
        self,
        path: Path,
        *,
        read_only: bool = False,
        clock: Clock | None = None,
        executor: Executor | None = None,
        process: str = "",
        payload_bytes_max: int = codec.PAYLOAD_BYTES_MAX,
        turn_timeout_s: float = TURN_TIMEOUT_S,
        busy_timeout_s: float = schema.BUSY_TIMEOUT_S,
    ) -> None:
        self._path = path.absolute()
        self._clock = clock or SystemClock()
        self._payload_bytes_max = payload_bytes_max
        self._read_only = read_only
        self._executor = executor
        self._is_closed = False
        self._wakeup = Wakeup()
        self._own_executors: list[ThreadPoolExecutor] = []
        self._writer: Writer | None = None
        with contextlib.ExitStack() as opened:
            if not read_only:
                name = f"process {os.getpid()}" + (f" ({process})" if process else "")
                connection = schema.connect(self._path, "rwc", busy_timeout_s=busy_timeout_s)
                opened.callback(connection.close)
                turn = Turn(self._path, name=name, timeout_s=turn_timeout_s)
                opened.callback(turn.close)
                self._writer = self._open_writer(connection, turn)
            connection = schema.connect(self._path, "ro" if read_only else "rw")
            opened.callback(connection.close)
            with translated(self._path):
                schema.check_version(connection, self._path)
            self._reader = Reader(connection, path=self._path, executor=executor or self._own_executor("reader"))
            opened.pop_all()  # all is well: it stays open

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def capabilities(self) -> Capabilities:
        folder = self._path.with_name(self._path.name + ".processes")
        return Capabilities(
            durable=True,
            durability="the process and the machine: each commit waits for the disk",
            many_processes=True,
            lock_folder=str(folder),
            location=str(self._path),
            payload_bytes_max=self._payload_bytes_max,
        )

    def now_s(self) -> float:
        return self._clock.time_s()

    def ailment(self) -> str | None:
        if self._is_closed:
            return "the store is closed"
        return self._writer.ailment() if self._writer else "it was opened for reading (mode=ro)"

    async def read(self, scope: Scope, keys: Sequence[Key]) -> list[Record | None]:
        gate.check_read(keys)
        found: list[Record | None] = [None] * len(keys)
        visible = [(place, key) for place, key in enumerate(keys) if scope.covers(key)]
        asked = select.read([key for _, key in visible])
        columns = "number, " + tables.RECORD
        rows = await self._reader.ask(lambda connection: tables.fetch(connection, asked.sql, asked.parameters, columns))
        for number, *values in rows:
            record = tables.row_from(values).record
            found[visible[number][0]] = checked(record) if record else None
        return found

    async def scan(self, scope: Scope, query: Query, *, after: str | None = None, limit: int = 100) -> Page:
        gate.check_query(query, limit)
        asked = select.scan(scope, query, paging.parse_place(after) if after is not None else None, limit)
        records = await self._reader.ask(lambda connection: _records(connection, asked))
        return paging.page_of(query, [checked(record) for record in records], limit)

    async def commit(self, scope: Scope, change: Change) -> Commit:
        payload_bytes = gate.check_change(scope, change, payload_bytes_max=self._payload_bytes_max)
        return await self._writing().commit(scope, change, payload_bytes)

    async def claim(self, scope: Scope, claim: Claim) -> list[Record]:
        gate.check_claim(claim)
        asked = select.claim(scope, claim)

        def take(connection: sqlite3.Connection) -> list[Record]:
            taken = []
            for record in _records(connection, asked):
                try:
                    taken.append(claimed(checked(record), claim))
                except Corrupt as error:  # one damaged record must not keep everybody else's from running
                    log.error("damaged_record_not_claimed", key=str(record.key), error=error.message)
            tables.put_rows(connection, taken, {record.key: row_of(record) for record in taken})
            return taken

        return await self._writing().run(take)

    async def events(
        self,
        scope: Scope,
        *,
        record: Key | None = None,
        stream: Stream | None = None,
        after: Position | None = None,
        after_version: int = 0,
        limit: int = 1000,
    ) -> list[Event]:
        whose = gate.check_events(record, stream, limit)
        if not scope.covers(whose):
            return []
        asked = select.events(record, stream, after, after_version, limit)
        rows = await self._reader.ask(
            lambda connection: tables.fetch(connection, asked.sql, asked.parameters, tables.EVENT)
        )
        return [checked_event(tables.event_from(values)) for values in rows]

    async def stream_ends(self, streams: Sequence[Stream]) -> list[Position]:
        gate.check_streams(streams)
        return await self._reader.ask(lambda connection: tables.stream_ends(connection, streams))

    async def wait(self, since: int) -> int:
        pause_s = POLL_FIRST_S
        while True:
            self._check_open()
            count = await self._wakeup.wait(since, timeout_s=pause_s)
            if count > since:
                return count
            await self._look()
            pause_s = min(pause_s * 1.5, POLL_LAST_S)

    async def migrate(self) -> list[str]:
        self._writing()
        return []  # opening it for writing has done so

    async def trim(self, *, before_s: float, keep_per_record: int = 1) -> int:
        writer = self._writing()
        find = functools.partial(inspection.trimmable, before_s=before_s, keep=keep_per_record)
        old = await self._apart(find)
        count = 0
        for start in range(0, len(old), inspection.PAGE_KEYS):
            page = old[start : start + inspection.PAGE_KEYS]
            work = functools.partial(inspection.trim, wanted=page, before_s=before_s, keep=keep_per_record)
            count += await writer.run(work)
        return count

    async def verify(self) -> Verification:
        return await self._apart(inspection.verify)

    async def repair(self) -> list[str]:
        writer = self._writing()
        found = await self._apart(inspection.damage)
        if not (found.damaged or found.behind):
            return []
        return await writer.run(lambda connection: inspection.repair(connection, found, at=self._clock.time_s()))

    async def backup(self, to: Path) -> Verification:
        archive.check_elsewhere(to, self._path)
        return await self._apart(lambda connection: archive.write(to, lambda copy: connection.backup(copy)))

    async def restore(self, source: Path, *, overwrite: bool = False) -> Verification:
        writer = self._writing()

        def replace(connection: sqlite3.Connection) -> None:
            with archive.opened(source) as backup:
                archive.replace(connection, backup, overwrite=overwrite)

        found = await asyncio.get_running_loop().run_in_executor(self._executor, archive.verify, source)
        await writer.run(replace)
        return found

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        self._check_open()
        view = SqliteSnapshot(self._path, self._executor)
        try:
            yield await view.begin()
        finally:
            await view.end()

    async def load(self, histories: Sequence[History]) -> None:
        await self._writing().run(lambda connection: inspection.load(connection, histories))

    async def adopt(self, streams: Mapping[Stream, int], *, incarnation: int) -> None:
        await self._writing().run(lambda connection: inspection.adopt(connection, streams, incarnation))

    async def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._wakeup.advance()
        try:
            if self._writer is not None:
                await self._writer.close()
        finally:
            self._reader.close()
            for executor in self._own_executors:
                executor.shutdown(wait=False)

    def __repr__(self) -> str:
        return f"SqliteStore({str(self._path)!r}, ailment={self.ailment()!r})"

    def _open_writer(self, connection: sqlite3.Connection, turn: Turn) -> Writer:
        with translated(self._path):
            if not schema.is_ready(connection):
                turn.acquire()
                try:
                    schema.prepare(connection, self._path)
                finally:
                    turn.release()
            return Writer(
                connection,
                path=self._path,
                executor=self._executor or self._own_executor("writer"),
                turn=turn,
                clock=self._clock,
                wakeup=self._wakeup,
            )

    def _own_executor(self, name: str) -> ThreadPoolExecutor:
        executor = ThreadPoolExecutor(1, thread_name_prefix=f"holdfast-{name}")
        self._own_executors.append(executor)
        return executor

    def _writing(self) -> Writer:
        self._check_open()
        if self._writer is None:
            raise Unavailable(f"{self._path}: opened for reading (mode=ro); open it without to write")
        return self._writer

    def _check_open(self) -> None:
        if self._is_closed:
            raise Unavailable(f"{self._path}: the store is closed; open another")

    async def _apart(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`work` on a connection and in a thread of its own: it takes long, and reading must not wait for it."""
        self._check_open()

        def run() -> T:
            with contextlib.closing(schema.connect(self._path, "ro")) as connection, translated(self._path):
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._executor, run)

    async def _look(self) -> None:
        """Count one up if another process has committed."""
        if (writer := self._writer) is not None:
            await self._reader.ask(lambda _: writer.look())
        elif await self._reader.ask(self._reader.is_news):
            self._wakeup.advance()


def _records(connection: sqlite3.Connection, asked: select.Select) -> list[Record]:
    rows = (tables.row_from(values) for values in tables.fetch(connection, asked.sql, asked.parameters, tables.RECORD))
    return [row.record for row in rows if row.record is not None]
