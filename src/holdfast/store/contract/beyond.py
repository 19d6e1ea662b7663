"""What some stores offer beyond the seven methods, asked for in one place, so that nobody needs to know which do."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.store.contract.history import Stream
from holdfast.store.contract.protocol import RecentReads, Remedied, Store, StreamEnds, Weakened
from holdfast.store.contract.records import Key, Position, Record, Scope


async def read_recent(
    store: Store, scope: Scope, keys: Sequence[Key], *, least_versions: Sequence[int] | None = None
) -> list[Record | None]:
    """The records of `keys`, for somebody who only looks: see `RecentReads`. A store without a cache just reads."""
    if isinstance(store, RecentReads):
        return await store.read_recent(scope, keys, least_versions=least_versions)
    return await store.read(scope, keys)


async def stream_ends(store: Store, streams: Sequence[Stream]) -> list[Position] | None:
    """Where up to PAGE_MAX streams end: see `StreamEnds`. None of a store that cannot say so at once."""
    return await store.stream_ends(streams) if isinstance(store, StreamEnds) else None


def weakness_of(store: Store) -> str | None:
    """What a store that works lacks at present; None where it lacks nothing, or cannot tell."""
    return store.weakness() if isinstance(store, Weakened) else None


def remedy_of(store: Store) -> str:
    """What to do about a store's weakness, and what it costs, where that is more than waiting; else ""."""
    return store.remedy() if isinstance(store, Remedied) else ""
