"""The mirror: PostgreSQL is the truth, Redis holds what was looked at lately. A `Store` with a second way to read.

Every method of `Store` and `StoreAdmin` is the truth's, so that whatever decides or waits goes by the truth alone.
`read_recent` is the second way. A commit is the truth's first; the cache is told after it, and where it may not have
been told, the generation that its entries carry is raised (see `link`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from holdfast import codec
from holdfast.cancellation import through_all
from holdfast.clock import Clock
from holdfast.errors import CommitUnknown, Unavailable
from holdfast.logs import get_logger
from holdfast.store.contract.beyond import stream_ends
from holdfast.store.contract.history import History, Row, Stream
from holdfast.store.contract.protocol import OpenStore
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
    RemovePrefix,
    Scope,
    Verification,
)
from holdfast.store.contract.witness import CommitWitness
from holdfast.store.decisions import gate
from holdfast.store.mirror import address
from holdfast.store.mirror.attention import Attention
from holdfast.store.mirror.cache import Cache
from holdfast.store.mirror.figures import SyncFigures, Tally
from holdfast.store.mirror.generation import Generation, Generations
from holdfast.store.mirror.link import Link
from holdfast.store.mirror.puts import Puts
from holdfast.store.mirror.recent import Recent
from holdfast.store.mirror.rules import Promise
from holdfast.store.postgres import PostgresStore
from holdfast.store.servers.breaker import ServerBreaker, breakers_of
from holdfast.store.wrapping.wrapper import OpenWrapper
from holdfast.store.writing.background import Background

log = get_logger(__name__)


class Truth(OpenStore, Generations, Protocol):
    """A store that tells a witness of its commits and keeps the generation of what is cached."""


class _Witness:
    """Stands where the truth's witness is due until the mirror that needs the truth is made."""

    attention: CommitWitness

    def must_raise(self) -> bool:
        return self.attention.must_raise()

    def written(self, rows: Mapping[Key, Row], removed: Sequence[RemovePrefix]) -> None:
        self.attention.written(rows, removed)


class MirrorStore(OpenWrapper[Truth]):
    """The store that "hybrid+postgresql://user@host/database?cache=redis://host:6379/0" names.

    Neither server is asked for anything before the first call. Raises InvalidInput for a bad URL.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock | None = None,
        process: str = "",
        payload_bytes_max: int = codec.PAYLOAD_BYTES_MAX,
        promise: Promise | None = None,
    ) -> None:
        promise = promise or Promise()
        where = address.parse(url)

        def truth(witness: CommitWitness) -> PostgresStore:
            return PostgresStore(
                where.truth, clock=clock, process=process, payload_bytes_max=payload_bytes_max, witness=witness
            )

        cache = Cache(
            where.cache,
            namespace=where.namespace,
            budget_s=promise.budget_s,
            probe_first_s=promise.probe_first_s,
            probe_max_s=promise.probe_max_s,
        )
        self._compose(truth, cache, promise)

    @classmethod
    def of(
        cls, truth: Callable[[CommitWitness], Truth], cache: Cache, *, promise: Promise | None = None
    ) -> MirrorStore:
        """A mirror of the truth that `truth` makes, given its witness."""
        self = cls.__new__(cls)
        self._compose(truth, cache, promise or Promise())
        return self

    def _compose(self, truth: Callable[[CommitWitness], Truth], cache: Cache, promise: Promise) -> None:
        witness = _Witness()
        super().__init__(truth(witness))
        self._truth = self._inner
        self._cache = cache
        self._tally = tally = Tally()
        self._is_closed = False
        self._background = background = Background(_failed)
        now_s = self._truth.now_s
        self._generation = Generation(self._truth, background, promise)
        self._link = Link(cache, self._generation, background, promise, tally)
        self._puts = Puts(cache, self._link, background, promise, tally, now_s=now_s)
        self._recent = Recent(
            self._truth.read, cache, self._link, self._puts, self._generation, background, promise, tally, now_s=now_s
        )
        witness.attention = Attention(self._link, self._puts, self._generation, now_s=now_s, forget=self._recent.forget)

    # -- the truth --------------------------------------------------------------------------------------------------

    @property
    def capabilities(self) -> Capabilities:
        known = self._truth.capabilities
        return msgspec.structs.replace(known, location=f"{known.location}, mirrored in {self._cache.place}")

    def server_breakers(self) -> tuple[ServerBreaker, ...]:
        return (*breakers_of(self._truth), self._cache.server)

    async def read(self, scope: Scope, keys: Sequence[Key]) -> list[Record | None]:
        return await self._truth.read(scope, keys)

    async def scan(self, scope: Scope, query: Query, *, after: str | None = None, limit: int = 100) -> Page:
        return await self._truth.scan(scope, query, after=after, limit=limit)

    async def commit(self, scope: Scope, change: Change) -> Commit:
        try:
            return await self._truth.commit(scope, change)
        except CommitUnknown:
            self._link.owe()  # it may have happened, and nobody told the cache
            raise

    async def claim(self, scope: Scope, claim: Claim) -> list[Record]:
        try:
            return await self._truth.claim(scope, claim)
        except CommitUnknown:
            self._link.owe()
            raise

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
        return await self._truth.events(
            scope, record=record, stream=stream, after=after, after_version=after_version, limit=limit
        )

    async def stream_ends(self, streams: Sequence[Stream]) -> list[Position] | None:
        return await stream_ends(self._truth, streams)

    async def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        await through_all(
            self._puts.flush,
            self._link.settle,
            self._truth.close,
            self._puts.flush,
            self._background.stop,
            self._cache.close,
        )

    # -- the cache --------------------------------------------------------------------------------------------------

    async def read_recent(
        self, scope: Scope, keys: Sequence[Key], *, least_versions: Sequence[int] | None = None
    ) -> list[Record | None]:
        gate.check_read(keys)
        if self._is_closed:
            raise Unavailable(f"{self._cache.place}: the store is closed; open another")
        return await self._recent.read(scope, keys, least_versions)

    def weakness(self) -> str | None:
        return self._link.weakness()

    def figures(self) -> SyncFigures:
        """How the cache keeps up."""
        tally = self._tally
        return SyncFigures(
            lag_s=self._puts.lag_s,
            queued=self._puts.queued,
            hits=tally.hits,
            misses=tally.misses,
            bypasses=tally.bypasses,
            puts=tally.puts,
            outdated=tally.outdated,
            losses=tally.losses,
            raises=tally.raises,
            generation=self._generation.known,
            weakness=self._link.weakness(),
        )

    async def flush(self) -> None:
        """Returns when every commit of this process so far was put, or the cache was lost."""
        await self._puts.flush()

    async def invalidate(self) -> None:
        """Make all that is cached worthless, in all processes: what was written behind this store's back is seen."""
        await self._link.invalidate()

    # -- operators --------------------------------------------------------------------------------------------------

    async def repair(self) -> list[str]:
        words = await self._truth.repair()
        self._link.owe()
        return words

    async def restore(self, source: Path, *, overwrite: bool = False) -> Verification:
        found = await self._truth.restore(source, overwrite=overwrite)
        self._link.owe()
        return found

    async def load(self, histories: Sequence[History]) -> None:
        await self._truth.load(histories)
        self._link.owe()

    def __repr__(self) -> str:
        return f"MirrorStore({self._truth!r}, {self._link!r}, {self._tally!r})"


def _failed(name: str, error: BaseException) -> None:
    log.error("mirror_task_failed", task=name, error=repr(error))
