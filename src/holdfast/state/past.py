"""The past of an object: every change that its journal keeps, and its value at any version."""

from __future__ import annotations

from collections.abc import AsyncIterator

from holdfast import codec
from holdfast.errors import NotFound
from holdfast.state.healing import PAGE, journal_of
from holdfast.state.objects import Held, StateChange, Stored, told
from holdfast.state.rules import GONE
from holdfast.state.shelf import Shelf
from holdfast.store.contract.records import Key, Position, Scope
from holdfast.store.rows import journal
from holdfast.store.rows.journal import SNAPSHOT_EVERY


async def changes(shelf: Shelf, scope: Scope, key: Key) -> AsyncIterator[StateChange]:
    """The rows of an object's journal, oldest first."""
    after: Position | None = None
    while page := await shelf.store.events(scope, record=key, after=after, limit=PAGE):
        for event in page:
            yield told(event)
        after = page[-1].position


async def at_version(shelf: Shelf, scope: Scope, key: Key, version: int) -> Held:
    """The object as it was at `version`. Raises NotFound where its journal does not tell: no such version, a deletion,
    or one that is not kept any more."""
    for after_version in (max(0, version - 2 * SNAPSHOT_EVERY), 0):
        rows = await journal_of(shelf.store, scope, key, after_version=after_version)
        rows = [row for row in rows if row.version <= version]
        found = journal.rebuilt(journal.own_life(rows))
        if not rows or rows[-1].version != version or rows[-1].name in GONE:
            break
        if found is not None and found.version == version:
            stored = codec.decode(codec.encode(found.body, what=f"{key}"), Stored)
            return Held(version, stored, rows[-1].at)
    raise NotFound(f"{key.id}: there is no version {version} of it, or it is not kept; see its history", path=key.id)


async def last_version(shelf: Shelf, scope: Scope, key: Key) -> int:
    """The version that an object which is not there counts on from."""
    rows = await journal_of(shelf.store, scope, key)
    return rows[-1].version if rows else 0
