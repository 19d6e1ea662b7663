"""A store whose bodies are sealed by a codec: who works through it sees plain values, what lies in the store is opaque.

Sealed are the bodies of records and events, and the deltas. Plain stay keys, statuses, labels, dues, owners and names
of events: claims and indexes work by them. A delta holds the whole sealed body, so that `verify`, `repair` and `trim`
of the store inside work without a key. `seal` says how a body is sealed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from holdfast import codec as json_codec
from holdfast.errors import InvalidInput
from holdfast.store.contract import beyond
from holdfast.store.contract.history import History, Stream
from holdfast.store.contract.protocol import FallsBack, OpenStore, Store
from holdfast.store.contract.records import (
    SYSTEM_TENANT,
    Capabilities,
    Change,
    Claim,
    Commit,
    Delete,
    Event,
    Key,
    NewEvent,
    Page,
    Position,
    Put,
    Query,
    Record,
    Scope,
    Verification,
)
from holdfast.store.decisions import gate
from holdfast.store.wrapping.seal import EVENT, RECORD, SEAL, SEALED_BYTES_MAX, CannotOpen, Codec, Sealer
from holdfast.store.wrapping.wrapper import OpenWrapper


class SealedStore(OpenWrapper[OpenStore]):
    """`inner` with every body of a tenant sealed by `codec`. The system's own records hold no payloads, and stay plain.

    `Engine(url, ..., codec=codec)` makes one; who opens stores himself puts it around one that takes bodies of 2 MiB,
    for sealed ones are a third longer. Bodies that were written before there was a codec are read as they are; their
    next write seals them. What a scan or a claim cannot open it gives back sealed, so that one such record does not
    stop the others; `read` raises. Raises InvalidInput around a store that takes less, or has a codec already.

    Example: `SealedStore(open_store(url, payload_bytes_max=2 * 1024 * 1024), AesGcm(keys, current="b"))`.
    """

    def __init__(self, inner: OpenStore, codec: Codec) -> None:
        can = inner.capabilities
        if can.is_sealed:
            raise InvalidInput(f"sealed store: expected {can.location} without a codec, saw one before it; give it one")
        if can.payload_bytes_max < SEALED_BYTES_MAX:
            raise InvalidInput(
                f"sealed store: expected {can.location} to take bodies of {SEALED_BYTES_MAX} bytes, saw "
                f"{can.payload_bytes_max}; open_store(url, payload_bytes_max={SEALED_BYTES_MAX})"
            )
        if isinstance(inner, FallsBack):
            raise InvalidInput(
                f"sealed store: expected {can.location} without a fallback, saw one: what is sealed cannot be merged "
                "when Redis is back; leave the codec or fallback=memory out"
            )
        super().__init__(inner)
        self._sealer = Sealer(codec)

    @property
    def capabilities(self) -> Capabilities:
        return replace(self._inner.capabilities, payload_bytes_max=json_codec.PAYLOAD_BYTES_MAX, is_sealed=True)

    def weakness(self) -> str | None:
        return beyond.weakness_of(self._inner)

    async def read(self, scope: Scope, keys: Sequence[Key]) -> list[Record | None]:
        return [record and self._opened(record) for record in await self._inner.read(scope, keys)]

    async def read_recent(
        self, scope: Scope, keys: Sequence[Key], *, least_versions: Sequence[int] | None = None
    ) -> list[Record | None]:
        found = await beyond.read_recent(self._inner, scope, keys, least_versions=least_versions)
        return [record and self._opened(record) for record in found]

    async def scan(self, scope: Scope, query: Query, *, after: str | None = None, limit: int = 100) -> Page:
        page = await self._inner.scan(scope, query, after=after, limit=limit)
        return replace(page, records=tuple(map(self._opened_if_possible, page.records)))

    async def commit(self, scope: Scope, change: Change) -> Commit:
        gate.check_change(scope, change, payload_bytes_max=json_codec.PAYLOAD_BYTES_MAX)  # inside, all looks sound
        return await self._inner.commit(scope, self._sealed_change(change))

    async def claim(self, scope: Scope, claim: Claim) -> list[Record]:
        return [self._opened_if_possible(record) for record in await self._inner.claim(scope, claim)]

    async def events(
        self,
        scope: Scope,
        *,
        record: Key | None = None,
        stream: tuple[str, str] | None = None,
        after: Position | None = None,
        after_version: int = 0,
        limit: int = 1000,
    ) -> list[Event]:
        found = await self._inner.events(
            scope, record=record, stream=stream, after=after, after_version=after_version, limit=limit
        )
        return [self._opened_event(event) for event in found]

    async def stream_ends(self, streams: Sequence[Stream]) -> list[Position] | None:
        return await beyond.stream_ends(self._inner, streams)

    # Nothing of what lies there is kept in mind, so it may be replaced as it is.

    async def repair(self) -> list[str]:
        return await self._inner.repair()

    async def restore(self, source: Path, *, overwrite: bool = False) -> Verification:
        return await self._inner.restore(source, overwrite=overwrite)

    async def load(self, histories: Sequence[History]) -> None:
        await self._inner.load(histories)

    def _sealed_change(self, change: Change) -> Change:
        writes = tuple(self._sealed_write(write) for write in change.writes)
        bodies = {write.key: write.body for write in writes if isinstance(write, Put)}
        folded = {write.key: write.folded for write in change.writes if isinstance(write, Put) and write.folded > 1}
        events = []
        for event in change.events:
            is_between = folded.get(event.key, 1) > 1
            if is_between:
                folded[event.key] -= 1
            events.append(self._sealed_event(event, {} if is_between else bodies, is_between=is_between))
        return replace(change, writes=writes, events=tuple(events))

    def _sealed_write(self, write: Put | Delete) -> Put | Delete:
        return (
            replace(write, body=self._sealer.seal(write.key, write.body, RECORD)) if isinstance(write, Put) else write
        )

    def _sealed_event(self, event: NewEvent, bodies: Mapping[Key, bytes], *, is_between: bool) -> NewEvent:
        """The event with the body that its record gets as its delta: the same sealed bytes, so that both agree. One of
        several updates that are folded into a write, but for the last, is told without its delta: a body that no record
        ever had is nothing that a journal of sealed bodies could go on from."""
        if event.key.tenant == SYSTEM_TENANT:
            return event
        body = self._sealer.seal(event.key, event.body, EVENT)
        if not event.delta or is_between:
            return replace(event, body=body, delta=b"")
        if event.key not in bodies:
            raise InvalidInput(f"{event.name} of {event.key}: expected a delta beside a write of its record, saw none")
        return replace(event, body=body, delta=b'{"full":%b}' % bodies[event.key])

    def _opened(self, record: Record) -> Record:
        return replace(record, body=self._sealer.open(record.key, record.body, RECORD))

    def _opened_if_possible(self, record: Record) -> Record:
        try:
            return self._opened(record)
        except CannotOpen:
            return record

    def _opened_event(self, event: Event) -> Event:
        delta = event.delta
        if delta:
            full = msgspec.json.decode(delta, type=dict[str, msgspec.Raw]).get("full")
            if full is not None:
                delta = b'{"full":%b}' % self._sealer.open(event.key, bytes(full), RECORD)
        return replace(event, body=self._sealer.open(event.key, event.body, EVENT), delta=delta)

    def __repr__(self) -> str:
        return f"SealedStore({self._inner!r})"


async def refuse_sealed(store: Store) -> None:
    """Raises CannotOpen where engines with a codec worked on the store and `store` has none: what is written here would
    lie there plain, and what is there is not read."""
    if store.capabilities.is_sealed:
        return
    if (await store.read(Scope.system(), [SEAL]))[0] is not None:
        raise CannotOpen(
            f"store {store.capabilities.location}: expected a codec, for its payloads are sealed, saw none; "
            "Engine(url, ..., codec=...), on the command line --codec module:object, HOLDFAST_CODEC or `codec` in "
            "holdfast.toml"
        )
