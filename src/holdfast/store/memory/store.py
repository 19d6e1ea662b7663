"""The store in memory: the model that every other back end is compared with, and what tests run on.

A commit is judged and applied inline under one lock, without a thread, so that a virtual clock can drive it. It works
from several loops and threads at once and keeps nothing when the process ends.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from holdfast import codec
from holdfast.clock import Clock, SystemClock
from holdfast.errors import HoldfastError, Unavailable
from holdfast.store.contract.history import History, Stream
from holdfast.store.contract.protocol import Snapshot, history_order
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
from holdfast.store.decisions.rules import claimed, judge, moment, row_of
from holdfast.store.rows.digest import checked, checked_event
from holdfast.store.sqlite import archive
from holdfast.store.upkeep.audit import audit
from holdfast.store.upkeep.contents import Contents
from holdfast.store.upkeep.mend import repair_of, survey
from holdfast.store.writing.wakeup import Wakeup


class MemoryStore:
    """A `Store` of this process alone. `clock` gives its time; `payload_bytes_max` bounds one body."""

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        payload_bytes_max: int = codec.PAYLOAD_BYTES_MAX,
        wakeup: Wakeup | None = None,
    ) -> None:
        """`wakeup`: whose count `wait` gives, where this store takes turns with another one."""
        self._clock = clock or SystemClock()
        self._payload_bytes_max = payload_bytes_max
        self._lock = threading.Lock()
        self._contents = Contents()
        self._wakeup = wakeup or Wakeup()
        self._is_closed = False

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            durable=False,
            durability="nothing: it ends with this process",
            many_processes=False,
            location="memory:",
            payload_bytes_max=self._payload_bytes_max,
        )

    def now_s(self) -> float:
        return self._clock.time_s()

    def ailment(self) -> str | None:
        return "the store is closed" if self._is_closed else None

    async def read(self, scope: Scope, keys: Sequence[Key]) -> list[Record | None]:
        self._check_open()
        gate.check_read(keys)
        with self._lock:
            rows = [self._contents.rows.get(key) if scope.covers(key) else None for key in keys]
        return [checked(row.record) if row and row.record and not row.deleted else None for row in rows]

    async def scan(self, scope: Scope, query: Query, *, after: str | None = None, limit: int = 100) -> Page:
        self._check_open()
        gate.check_query(query, limit)
        start = paging.parse_place(after) if after is not None else None
        with self._lock:
            found = [record for record in self._contents.records(scope, query.kind) if paging.is_match(query, record)]
        rest = [record for record in found if start is None or paging.place_of(query, record) > start]
        rest.sort(key=lambda record: paging.place_of(query, record))
        return paging.page_of(query, [checked(record) for record in rest[: limit + 1]], limit)

    async def commit(self, scope: Scope, change: Change) -> Commit:
        return self.commit_now(scope, change)

    def commit_now(self, scope: Scope, change: Change) -> Commit:
        """As `commit`, for who must do something with the answer before anybody else does anything."""
        self._check_open()
        gate.check_change(scope, change, payload_bytes_max=self._payload_bytes_max)
        with self._lock:
            judgement = judge(
                [change],
                self._contents.rows,
                self._contents.streams,
                at=self._clock.time_s(),
                incarnation=self._contents.incarnation,
            )
            self._contents.apply(judgement)
        (answer,) = judgement.answers
        if isinstance(answer, HoldfastError):
            raise answer
        self._wakeup.advance()
        return answer

    async def claim(self, scope: Scope, claim: Claim) -> list[Record]:
        return [taken for _, taken in self.claim_now(scope, claim)]

    def claim_now(self, scope: Scope, claim: Claim) -> list[tuple[Record, Record]]:
        """As `claim`: each record as it was, and as it was taken."""
        self._check_open()
        gate.check_claim(claim)
        with self._lock:
            found = [
                record for record in self._contents.records(scope, claim.kind) if paging.is_claimable(claim, record)
            ]
            found.sort(key=paging.claim_order)
            taken = [(checked(record), claimed(record, claim)) for record in found[: claim.limit]]
            for _, record in taken:
                self._contents.put(record.key, row_of(record))
        if taken:
            self._wakeup.advance()
        return taken

    def peek(self, keys: Iterable[Key]) -> dict[Key, Record | None]:
        """The records of `keys` as they stand, whoever they belong to."""
        with self._lock:
            rows = {key: self._contents.rows.get(key) for key in keys}
        return {key: None if row is None or row.deleted else row.record for key, row in rows.items()}

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
        with self._lock:
            found = list(self._contents.journal(record) if record else self._contents.stream(whose[:2]))
        behind = (event for event in found if _is_behind(event, record, after, after_version))
        return [checked_event(event) for event in itertools.islice(behind, limit)]

    async def wait(self, since: int) -> int:
        self._check_open()
        return await self._wakeup.wait(since)

    async def close(self) -> None:
        self._is_closed = True
        self._wakeup.advance()

    async def migrate(self) -> list[str]:
        self._check_open()
        return []

    async def trim(self, *, before_s: float, keep_per_record: int = 1) -> int:
        self._check_open()
        with self._lock:
            return self._contents.trim(before_s=before_s, keep=keep_per_record)

    async def verify(self) -> Verification:
        self._check_open()
        with self._lock:
            return audit(self._contents.histories(), self._contents.streams)

    async def repair(self) -> list[str]:
        self._check_open()
        with self._lock:
            found = survey(self._contents.histories(), self._contents.streams)
            self._contents.adopt(found.behind, self._contents.incarnation)
            return found.words + [words for key in found.damaged for words in self._mended(key)]

    async def backup(self, to: Path) -> Verification:
        self._check_open()
        with self._lock:
            return archive.write(to, lambda connection: archive.save(self._contents, connection, to))

    async def restore(self, source: Path, *, overwrite: bool = False) -> Verification:
        self._check_open()
        found = archive.verify(source)
        with archive.opened(source) as connection, self._lock:
            if not overwrite:
                archive.check_empty(is_empty=not (self._contents.rows or self._contents.journals))
            self._contents = archive.loaded(connection, incarnation=self._contents.incarnation)
        self._wakeup.advance()
        return found

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        self._check_open()
        with self._lock:
            view = FrozenContents(self._contents)
        yield view

    async def load(self, histories: Sequence[History]) -> None:
        self._check_open()
        with self._lock:
            for history in histories:
                self._contents.load(history)
        self._wakeup.advance()

    async def adopt(self, streams: Mapping[Stream, int], *, incarnation: int) -> None:
        self._check_open()
        with self._lock:
            self._contents.adopt(streams, incarnation)

    def _mended(self, key: Key) -> list[str]:
        """Mend what is under one key; in words what was done."""
        stream = (key.tenant, key.user)
        repair = repair_of(
            self._contents.history(key),
            self._contents.copies(key),
            at=moment(self._clock.time_s()),
            position=Position(self._contents.incarnation, self._contents.streams.get(stream, 0) + 1),
        )
        if repair is None:
            return []
        if repair.history is not None:
            self._contents.load(repair.history)
            self._contents.adopt(repair.streams, self._contents.incarnation)
        return [repair.words]

    def _check_open(self) -> None:
        if self._is_closed:
            raise Unavailable("memory store: it is closed; open another")

    def __repr__(self) -> str:
        return f"MemoryStore({self._contents!r}, commits={self._wakeup.count - 1})"


class FrozenContents:
    """A `Snapshot` of what `contents` holds now."""

    def __init__(self, contents: Contents) -> None:
        self._histories = [
            replace(history, events=tuple(history.events))
            for history in sorted(contents.histories(), key=lambda history: history_order(history.key))
        ]
        self._streams = dict(contents.streams)
        self.incarnation = contents.incarnation

    async def histories(self, *, after: Key | None = None) -> AsyncIterator[History]:
        for history in self._histories:
            if after is None or history_order(history.key) > history_order(after):
                yield history

    async def streams(self) -> dict[Stream, int]:
        return dict(self._streams)


def _is_behind(event: Event, record: Key | None, after: Position | None, after_version: int) -> bool:
    return (after is None or event.position > after) and (record is None or event.version > after_version)
