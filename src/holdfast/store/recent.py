"""What some stores offer beyond the seven methods, asked for in one place, so that nobody needs to know which do."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.store.protocol import RecentReads, Store, Weakened
from holdfast.store.records import Key, Record, Scope


async def read_recent(
    store: Store, scope: Scope, keys: Sequence[Key], *, least_versions: Sequence[int] | None = None
) -> list[Record | None]:
    """The records of `keys`, for somebody who only looks: see `RecentReads`. A store without a cache just reads."""
    if isinstance(store, RecentReads):
        return await store.read_recent(scope, keys, least_versions=least_versions)
    return await store.read(scope, keys)


def weakness_of(store: Store) -> str | None:
    """What a store that works lacks at present; None where it lacks nothing, or cannot tell."""
    return store.weakness() if isinstance(store, Weakened) else None
