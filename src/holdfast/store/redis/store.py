"""The store in Redis or Valkey, one server or a cluster: quick, and as durable as the server's append-only file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from holdfast import codec
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
from holdfast.store.decisions import gate, paging
from holdfast.store.decisions.rules import claimed
from holdfast.store.redis import address, finding, inspection, restoring
from holdfast.store.redis.calls import Calls, document, each
from holdfast.store.redis.notices import Notices
from holdfast.store.redis.places import key_at
from holdfast.store.redis.rows import event_from, meta_of, pairs, position_text
from holdfast.store.redis.writer import BatchWriter, parts
from holdfast.store.rows.digest import checked, checked_event
from holdfast.store.servers.breaker import ServerBreaker
from holdfast.store.servers.clock import ServerTime
from holdfast.store.sqlite import archive
from holdfast.store.upkeep.audit import audit, together
from holdfast.store.upkeep.mend import survey, surveyed_together
from holdfast.store.writing.committer import Committer
from holdfast.store.writing.wakeup import Wakeup

RACES_MAX = 20
"""How often one claim looks again for what others have not taken."""
DURABILITY = (
    "the processes, and the server as far as its append-only file does: with appendfsync everysec a crash may lose the "
    "last second, without a file everything"
)
log = get_logger(__name__)


class RedisStore:
    """A `Store` in the server or cluster that `url` names. Nothing is asked of it before the first call.

    `clock` replaces the server's (tests). Raises InvalidInput for a bad URL.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock | None = None,
        process: str = "",
        payload_bytes_max: int = codec.PAYLOAD_BYTES_MAX,
        wakeup: Wakeup | None = None,
    ) -> None:
        """`wakeup`: whose count `wait` gives, where this store takes turns with another one."""
        self._token = f"{os.getpid()}-{system_randomness().getrandbits(64):016x}"
        self._address = address.parse(url)
        self._time = ServerTime(clock)
        self._calls = Calls(self._address, self._time)
        self._payload_bytes_max = payload_bytes_max
        self._wakeup = wakeup or Wakeup()
        self._notices = Notices(self._calls, self._wakeup, me=self._token)
        self._is_closed = False
        self._views = 0
        self._writer = writer = BatchWriter(self._calls, self._time, on_committed=self._notices.committed)
        self._committer = Committer(
            writer.write, place=self._address.shown, on_committed=self._wakeup.advance, split=parts
        )

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            durable=False,
            durability=DURABILITY,
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
        return (self._calls.server,)

    async def read(self, scope: Scope, keys: Sequence[Key]) -> list[Record | None]:
        self._check_open()
        gate.check_read(keys)
        found: list[Record | None] = [None] * len(keys)
        by_tenant: dict[str, list[int]] = {}
        for number, key in enumerate(keys):
            if scope.covers(key):
                by_tenant.setdefault(key.tenant, []).append(number)
        parts = [finding.records(self._calls, [keys[number] for number in its]) for its in by_tenant.values()]
        for its, records in zip(by_tenant.values(), await each(parts), strict=True):
            for number, record in zip(its, records, strict=True):
                found[number] = checked(record) if record else None
        return found

    async def scan(self, scope: Scope, query: Query, *, after: str | None = None, limit: int = 100) -> Page:
        self._check_open()
        gate.check_query(query, limit)
        start = paging.parse_place(after) if after is not None else None
        records = await finding.scan(self._calls, scope, query, start, limit + 1)
        return paging.page_of(query, [checked(record) for record in records], limit)

    async def commit(self, scope: Scope, change: Change) -> Commit:
        payload_bytes = gate.check_change(scope, change, payload_bytes_max=self._payload_bytes_max)
        return await self._committer.commit(scope, change, payload_bytes)

    async def claim(self, scope: Scope, claim: Claim) -> list[Record]:
        self._check_open()
        gate.check_claim(claim)
        taken: list[Record] = []
        for _ in range(RACES_MAX):
            left = replace(claim, limit=claim.limit - len(taken))
            sound = [record for record in await finding.candidates(self._calls, scope, left) if _is_sound(record)]
            won = await self._taken(sound, claim)
            taken += won
            if len(won) == len(sound) or len(taken) == claim.limit:
                break
        if taken:
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
        self._check_open()
        whose = gate.check_events(record, stream, limit)
        if not scope.covers(whose):
            return []
        behind = "" if after is None else position_text(after)
        if record is None:
            rows = await self._calls.script("tail", whose.tenant, whose.user, behind, str(limit))
            found = [
                event_from(key_at(whose.tenant, place.decode()), position, pairs(fields))
                for position, place, fields in rows
            ]
            return [checked_event(event) for event in found]
        return [checked_event(event) for event in await self._journal(record, behind, after_version, limit)]

    def forget_the_server(self) -> None:
        """It may come back without what it had: ask anew for its layout, and tell it its tenants anew."""
        self._calls.forget_the_server()
        self._writer.forget_tenants()

    async def wait(self, since: int) -> int:
        self._check_open()
        if since < self._wakeup.count:
            return self._wakeup.count
        count = await self._notices.wait(since)
        self._check_open()
        return count

    async def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._wakeup.advance()
        await through_all(self._committer.close, self._notices.close, self._calls.close)

    async def migrate(self) -> list[str]:
        self._check_open()
        await self._calls.client()
        return []

    async def trim(self, *, before_s: float, keep_per_record: int = 1) -> int:
        count = 0
        async with self.snapshot() as view:
            async for page in archive.pages_of(view):
                count += await inspection.trim(self._calls, page, before_s=before_s, keep=keep_per_record)
        return count

    async def verify(self) -> Verification:
        async with self.snapshot() as view:
            streams = await view.streams()
            return together([audit([], streams), *[audit(page, streams) async for page in archive.pages_of(view)]])

    async def repair(self) -> list[str]:
        async with self.snapshot() as view:
            streams = await view.streams()
            found = surveyed_together([survey(page, streams) async for page in archive.pages_of(view)])
            incarnation = view.incarnation
        words = await inspection.repair(self._calls, found, at=self.now_s(), incarnation=incarnation)
        self._wakeup.advance()
        return words

    async def backup(self, to: Path) -> Verification:
        async with self.snapshot() as view:
            return await archive.write_snapshot(to, view)

    async def restore(self, source: Path, *, overwrite: bool = False) -> Verification:
        self._check_open()
        found = await archive.in_thread(lambda: archive.verify(source))
        if not overwrite:
            archive.check_empty(is_empty=await restoring.is_empty(self._calls))
        tenants = await archive.in_thread(lambda: archive.tenants(source))
        async with archive.viewed(source) as backup:
            await restoring.restore(self._calls, backup, tenants)
        self._wakeup.advance()
        return found

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        self._check_open()
        self._views += 1
        view = inspection.RedisSnapshot(self._calls, f"{self._token}-{self._views}")
        try:
            yield await view.begin()
        finally:
            await view.end()

    async def load(self, histories: Sequence[History]) -> None:
        self._check_open()
        await inspection.load(self._calls, histories)
        self._wakeup.advance()

    async def adopt(self, streams: Mapping[Stream, int], *, incarnation: int) -> None:
        self._check_open()
        await inspection.adopt(self._calls, streams, incarnation)

    def __repr__(self) -> str:
        return f"RedisStore({self._address.shown!r}, ailment={self.ailment()!r})"

    async def _taken(self, records: Sequence[Record], claim: Claim) -> list[Record]:
        """Those of `records` that nobody changed meanwhile, as `claim` takes them, in their order."""
        after = [claimed(record, claim) for record in records]
        by_tenant: dict[str, list[int]] = {}
        for number, record in enumerate(records):
            by_tenant.setdefault(record.key.tenant, []).append(number)
        won: set[int] = set()
        for tenant, its in by_tenant.items():
            asked = [
                (*_place(after[number]), records[number].digest, after[number].digest,
                 meta_of(after[number], deleted=False).decode())
                for number in its
            ]  # fmt: skip
            _, answers = await self._calls.script("take", tenant, document(asked), writes=True)
            won.update(number for number, is_won in zip(its, answers, strict=True) if is_won)
        return [record for number, record in enumerate(after) if number in won]

    async def _journal(self, record: Key, behind: str, after_version: int, limit: int) -> list[Event]:
        key = f"j{record.kind}\0{record.user}\0{record.id}"
        found: list[Event] = []
        while len(found) < limit:
            first = f"({behind}" if behind else "-"
            rows = await self._calls.ask(record.tenant, "XRANGE", key, first, "+", "COUNT", limit)
            events = [event_from(record, position, pairs(fields)) for position, fields in rows]
            found += [event for event in events if event.version > after_version]
            if len(rows) < limit:
                break
            behind = rows[-1][0].decode()
        return found[:limit]

    def _check_open(self) -> None:
        if self._is_closed:
            raise Unavailable(f"{self._address.shown}: the store is closed; open another")


def _place(record: Record) -> tuple[str, str, str]:
    return record.key.kind, record.key.user, record.key.id


def _is_sound(record: Record) -> bool:
    """One damaged record must not keep everybody else's from running."""
    try:
        checked(record)
    except Corrupt as error:
        log.error("damaged_record_not_claimed", key=str(record.key), error=error.message)
        return False
    return True
