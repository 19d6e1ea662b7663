"""The contract of a store: seven methods that do I/O, and three plain facts beside them.

`holdfast.testing.conformance` states the same contract as tests; every back end and wrapper passes all of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

from holdfast.merge import FieldPolicy
from holdfast.store.contract.history import History, Stream
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


class Store(Protocol):
    """Where records and events live. Every call names its scope; what lies outside it does not exist.

    Errors: `Conflict` (a precondition did not hold; facts `key`, `expected`, `seen`), `Fenced` (an epoch guard did
    not hold), `InvalidInput`, `Unavailable`, `CommitUnknown`, `Corrupt`. No driver's exception leaves a store.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    def now_s(self) -> float:
        """The store's time as this process knows it: epoch seconds, corrected by the answers of earlier calls."""
        ...

    def ailment(self) -> str | None:
        """Why this store cannot commit at present, in words; None while it can."""
        ...

    async def read(self, scope: Scope, keys: Sequence[Key]) -> list[Record | None]:
        """The records of `keys` in that order; None where there is none, or it lies outside `scope`."""
        ...

    async def scan(self, scope: Scope, query: Query, *, after: str | None = None, limit: int = 100) -> Page:
        """A page of at most `limit` records."""
        ...

    async def commit(self, scope: Scope, change: Change) -> Commit:
        """All of `change`, durably, or none of it. A cancelled caller does not cancel a change that was queued."""
        ...

    async def claim(self, scope: Scope, claim: Claim) -> list[Record]:
        """Ownership of records, at most one owner at a time."""
        ...

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
        """Journal rows in the order of their positions: of one `record`, or of one user's `stream` (tenant, user).

        `after` resumes behind a position, for either; `after_version` behind a version of the record.
        """
        ...

    async def wait(self, since: int) -> int:
        """Returns a number greater than `since` once anything was committed by anybody after the call that gave
        `since` (0 at first: returns at once). A hint to look again, not a promise that something is there."""
        ...

    async def close(self) -> None:
        """Commit what is queued, then let go. Later calls are `Unavailable`. Who is cancelled meanwhile lets go all
        the same; what was queued and is not being written by then may be refused."""
        ...


@runtime_checkable
class RecentReads(Protocol):
    """What a store may have beside the seven methods: a cheaper read for those who only look (`beyond.read_recent`)."""

    async def read_recent(
        self, scope: Scope, keys: Sequence[Key], *, least_versions: Sequence[int] | None = None
    ) -> list[Record | None]:
        """As `read`, but an answer may be as old as the store promises. Never below the least version of its key, and
        never older than what this process committed itself. Not for decisions, nor for who was just woken up."""
        ...


@runtime_checkable
class StreamEnds(Protocol):
    """What a store may have beside the seven methods: where many streams end, for one question
    (`beyond.stream_ends`)."""

    async def stream_ends(self, streams: Sequence[Stream]) -> list[Position] | None:
        """Of each stream the number of its last event, 0 where there was none, and the incarnation in which the next
        one will be; None where that cannot be said at once. It tells no more than numbers, so it has no scope; it is
        for who listens at these streams."""
        ...


@runtime_checkable
class Weakened(Protocol):
    """What a store may have beside its facts: it can work, but not as well as it should."""

    def weakness(self) -> str | None:
        """What is missing at present, in words; None while all is well. No I/O."""
        ...


@runtime_checkable
class Remedied(Protocol):
    """What a store may have whose weakness does not end by itself, or costs more than speed."""

    def remedy(self) -> str:
        """What to do about `weakness`, and what it costs meanwhile; "" without one."""
        ...


@runtime_checkable
class FallsBack(Protocol):
    """What a store may have that goes on elsewhere while its server is away, and merges when it is back."""

    def merge_by(self, kind: str, policies: Callable[[Key], Mapping[str, FieldPolicy]]) -> None:
        """What settles the fields of a record of `kind` that both sides changed: by JSON pointer into its fields, with
        its body under "/body". Without it nothing does."""
        ...


class StoreAdmin(Protocol):
    """What operators do to a store, apart from what runs do."""

    async def migrate(self) -> list[str]:
        """Bring the schema up to date; the names of the migrations applied. A newer schema is `Unavailable`."""
        ...

    async def trim(self, *, before_s: float, keep_per_record: int = 1) -> int:
        """Drop journal rows older than `before_s`; how many went. Of each record the last `keep_per_record` stay (at
        least one), with what rebuilding needs and an anchor. The journal of a record that is gone for good (removed by
        prefix: no row is left of it) goes entirely, anchor included, once all of it is older."""
        ...

    async def verify(self) -> Verification:
        """Every digest and chain, recomputed."""
        ...

    async def repair(self) -> list[str]:
        """Put what `verify` finds damaged in order as far as anything sound tells (see `upkeep/mend.py`); what was done
        to each record, and what could not be done, in words."""
        ...

    async def backup(self, to: Path) -> Verification:
        """A consistent copy in `to`, verified after it was written."""
        ...

    async def restore(self, source: Path, *, overwrite: bool = False) -> Verification:
        """The contents of a backup, verified first. Refuses a store that is not empty unless `overwrite`."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """A view of everything as it is now, which later commits do not change."""
        ...

    async def load(self, histories: Sequence[History]) -> None:
        """Write what another store held, as it is: each key's row, journal and anchor replace what is under that key,
        and one without row and events leaves nothing. All of them or none. Digests are not looked at: verify does."""
        ...

    async def adopt(self, streams: Mapping[Stream, int], *, incarnation: int) -> None:
        """Number on behind a loaded store: `streams` become the last numbers, unless ours are higher, and the
        incarnation that of the argument, unless ours is later."""
        ...


class OpenStore(Store, StoreAdmin, Protocol):
    """What `open_store` gives: a store, and what operators do to it."""


def history_order(key: Key) -> tuple[str, str, str, str]:
    """What a snapshot's histories are sorted by: kind, tenant, user, id, by code points."""
    return key.kind, key.tenant, key.user, key.id


class Snapshot(Protocol):
    """One consistent view of a whole store, for copying it while it is worked on."""

    @property
    def incarnation(self) -> int:
        """Which incarnation the streams are in."""
        ...

    def histories(self, *, after: Key | None = None) -> AsyncIterator[History]:
        """All that is held under each key, in the order of `history_order`, read in pages: rows, journals, anchors."""
        ...

    async def streams(self) -> dict[Stream, int]:
        """The last number of each user's stream."""
        ...
