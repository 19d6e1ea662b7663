"""The store in a PostgreSQL database, for many processes on many machines, with row level security as a second wall.

Every call is one transaction with the caller's scopes; commits of a process go in batches (see `writer`). Time is the
server's, so that leases mean the same to everybody.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from holdfast import codec, faults
from holdfast.cancellation import through_all
from holdfast.clock import Clock, system_randomness
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
from holdfast.store.contract.witness import CommitWitness
from holdfast.store.decisions import gate, paging
from holdfast.store.decisions.rules import claimed, row_of
from holdfast.store.postgres import address, generations, inspection, select, tables
from holdfast.store.postgres.connections import Connection, Connections, committed
from holdfast.store.postgres.notices import Notices
from holdfast.store.postgres.reader import Reader
from holdfast.store.postgres.schema import Schema
from holdfast.store.postgres.writer import BatchWriter, parts
from holdfast.store.rows.digest import checked, checked_event
from holdfast.store.servers.breaker import ServerBreaker
from holdfast.store.servers.clock import ServerTime
from holdfast.store.sqlite import archive
from holdfast.store.upkeep.audit import audit, together
from holdfast.store.upkeep.mend import survey, surveyed_together
from holdfast.store.writing.committer import Committer
from holdfast.store.writing.wakeup import Wakeup

log = get_logger(__name__)


class PostgresStore:
    """A `Store` in the database that `url` names; its schema is made and brought up to date at the first call.

    Nothing is asked of the server before that, so a server that is away is `Unavailable` then. `clock` replaces the
    server's (tests). `witness` is told of commits: a cache in front of this store. Raises InvalidInput for a bad URL.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock | None = None,
        process: str = "",
        payload_bytes_max: int = codec.PAYLOAD_BYTES_MAX,
        witness: CommitWitness | None = None,
    ) -> None:
        token = f"{system_randomness().getrandbits(64):016x}"
        self._address = address.parse(url, process=process)
        # One connection is the writer's own: ten thousand readers must not keep a heartbeat waiting.
        self._connections = Connections(self._address, size=self._address.pool_size - 1)
        self._writing_connections = Connections(self._address, size=1, server=self._connections.server)
        self._schema = Schema(self._connections)
        self._reader = Reader(self._connections, self._schema)
        self._time = ServerTime(clock)
        self._payload_bytes_max = payload_bytes_max
        self._wakeup = Wakeup()
        self._notices = Notices(self._connections, self._wakeup, me=f"{os.getpid()}-{token}")
        self._slot = int(token, 16) % generations.SLOTS
        self._witness = witness
        self._is_closed = False
        self._writer = BatchWriter(
            self._writing_connections,
            self._schema,
            self._time,
            slot=self._slot,
            witness=witness,
            on_committed=self._notices.committed,
        )
        self._committer = Committer(
            self._writer.write, place=self._address.shown, on_committed=self._wakeup.advance, split=parts
        )

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            durable=True,
            durability="the processes and the server, whose disk each commit waits for (see synchronous_commit)",
            many_processes=True,
            lock_folder=str(self._address.lock_folder),
            location=self._address.shown,
            payload_bytes_max=self._payload_bytes_max,
        )

    def now_s(self) -> float:
        return self._time.now_s()

    def ailment(self) -> str | None:
        return self._committer.ailment()

    def server_breakers(self) -> tuple[ServerBreaker, ...]:
        return (self._connections.server,)

    async def read(self, scope: Scope, keys: Sequence[Key]) -> list[Record | None]:
        gate.check_read(keys)
        found: list[Record | None] = [None] * len(keys)
        visible = [place for place, key in enumerate(keys) if scope.covers(key)]
        self._check_open()
        if not visible:
            return found
        for number, *values in await self._reader.read(scope, [keys[place] for place in visible]):
            record = tables.record_from(values).record
            found[visible[number - 1]] = checked(record) if record else None
        return found

    async def scan(self, scope: Scope, query: Query, *, after: str | None = None, limit: int = 100) -> Page:
        gate.check_query(query, limit)
        self._check_open()
        asked = select.scan(scope, query, paging.parse_place(after) if after is not None else None, limit)
        found = await self._reader.rows(scope, asked.sql, *asked.parameters)
        records = [tables.record_from(values).record for values in found]
        return paging.page_of(query, [checked(record) for record in records if record is not None], limit)

    async def commit(self, scope: Scope, change: Change) -> Commit:
        payload_bytes = gate.check_change(scope, change, payload_bytes_max=self._payload_bytes_max)
        return await self._committer.commit(scope, change, payload_bytes)

    async def claim(self, scope: Scope, claim: Claim) -> list[Record]:
        gate.check_claim(claim)
        asked = select.claim(scope, claim)
        async with self._writing(scope) as connection:
            taken: list[Record] = []
            for values in await connection.fetch(asked.sql, *asked.parameters):
                record = tables.record_from(values).record
                assert record is not None, "a row of all columns has a record"
                try:
                    taken.append(claimed(checked(record), claim))
                except Corrupt as error:  # one damaged record must not keep everybody else's from running
                    log.error("damaged_record_not_claimed", key=str(record.key), error=error.message)
            await tables.put_rows(connection, [row_of(record) for record in taken])
            if taken and self._witness is not None and self._witness.must_raise():
                await generations.raise_slot(connection, self._slot)
        if taken:
            self._writer.heads.written(row_of(record) for record in taken)
            if self._witness is not None:
                self._witness.written({record.key: row_of(record) for record in taken}, ())
            self._wakeup.advance()
            await self._notices.committed()
        return taken

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
        self._check_open()
        asked = select.events(record, stream, after, after_version, limit)
        rows = await self._reader.rows(scope, asked.sql, *asked.parameters)
        return [checked_event(tables.event_from(values)) for values in rows]

    async def stream_ends(self, streams: Sequence[Stream]) -> list[Position]:
        gate.check_streams(streams)
        self._check_open()
        asked = select.stream_ends(streams)
        return [Position(*values) for values in await self._reader.rows(Scope.system(), asked.sql, *asked.parameters)]

    async def wait(self, since: int) -> int:
        self._check_open()
        if since < self._wakeup.count:
            return self._wakeup.count
        await self._schema.ensure()
        count = await self._notices.wait(since)
        self._check_open()
        return count

    async def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._wakeup.advance()
        await through_all(
            self._committer.close, self._notices.close, self._writing_connections.close, self._connections.close
        )

    # -- the cache in front of us ---------------------------------------------------------------------------------

    async def generation(self) -> int:
        """What caches must have been filled in: raised where somebody's commits may not have reached them."""
        async with self._reading(Scope.system()) as connection:
            return await generations.read_sum(connection)

    async def raise_generation(self) -> int:
        """Make all that is cached worthless; the generation from now on."""
        async with self._writing(Scope.system()) as connection:
            await generations.raise_slot(connection, self._slot)
        return await self.generation()

    # -- operators ------------------------------------------------------------------------------------------------

    async def migrate(self) -> list[str]:
        self._check_open()
        return await self._schema.migrate()

    async def trim(self, *, before_s: float, keep_per_record: int = 1) -> int:
        count, after = 0, None
        while True:
            async with self._writing(Scope.system()) as connection:
                page = await inspection.keys_with_events_before(connection, before_s, after)
                count += await inspection.trim(connection, page, before_s=before_s, keep=keep_per_record)
            if not page:
                return count
            after = page[-1]

    async def verify(self) -> Verification:
        async with self.snapshot() as view:
            streams = await view.streams()
            return together([audit(page, streams) async for page in archive.pages_of(view)])

    async def repair(self) -> list[str]:
        async with self.snapshot() as view:
            streams = await view.streams()
            found = surveyed_together([survey(page, streams) async for page in archive.pages_of(view)])
        if not (found.damaged or found.behind):
            return []
        async with self._writing(Scope.system()) as connection:
            words = await inspection.repair(connection, found, at=self.now_s())
            await generations.raise_slot(connection, self._slot)
        self._wakeup.advance()
        return words

    async def backup(self, to: Path) -> Verification:
        async with self.snapshot() as view:
            return await archive.write_snapshot(to, view)

    async def restore(self, source: Path, *, overwrite: bool = False) -> Verification:
        found = await archive.in_thread(lambda: archive.verify(source))
        async with self._writing(Scope.system()) as connection:
            if not overwrite:
                archive.check_empty(is_empty=await inspection.is_empty(connection))
            incarnation = await inspection.incarnation_of(connection)
            await inspection.clear(connection)
            async with archive.viewed(source) as backup:
                async for page in archive.pages_of(backup):
                    await inspection.load(connection, page)
                numbers = await backup.streams()
                await inspection.adopt(connection, numbers, max(incarnation, backup.incarnation) + 1)
            await generations.raise_slot(connection, self._slot)
        self._wakeup.advance()
        return found

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        async with self._reading(Scope.system(), options=inspection.WHOLE) as connection:
            yield await inspection.snapshot(connection)

    async def load(self, histories: Sequence[History]) -> None:
        async with self._writing(Scope.system()) as connection:
            await inspection.load(connection, histories)
            await generations.raise_slot(connection, self._slot)
        self._wakeup.advance()

    async def adopt(self, streams: Mapping[Stream, int], *, incarnation: int) -> None:
        async with self._writing(Scope.system()) as connection:
            await inspection.adopt(connection, streams, incarnation)

    def __repr__(self) -> str:
        return f"PostgresStore({self._address.shown!r}, ailment={self.ailment()!r})"

    @contextlib.asynccontextmanager
    async def _reading(self, scope: Scope, *, options: str = "") -> AsyncIterator[Connection]:
        """A transaction that only reads."""
        self._check_open()
        await self._schema.ensure()
        async with (
            self._connections.server.passing(),
            self._connections.reading(scope, options=options) as connection,
        ):
            yield connection

    @contextlib.asynccontextmanager
    async def _writing(self, scope: Scope) -> AsyncIterator[Connection]:
        """A transaction beside the writer's."""
        self._check_open()
        await self._schema.ensure()
        async with self._connections.writing(scope) as connection:
            yield connection
            faults.point("store-before-commit")
        committed(self._address.shown)

    def _check_open(self) -> None:
        if self._is_closed:
            raise Unavailable(f"{self._address.shown}: the store is closed; open another")
