"""A damaged object is made whole when it is met: from its journal, or else from the last checkpoint that has it.

The store finds damage by digests and refuses to hand it out. What is written here is a new version of the object, told
in its journal as `repaired`, and only over the very version that is damaged. The rest is for `holdfast repair`.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from holdfast import codec
from holdfast.errors import Conflict, Corrupt, InvalidInput
from holdfast.logs import get_logger
from holdfast.state.names import BETWEEN, COPY
from holdfast.state.objects import Stored
from holdfast.state.rules import GONE, REPAIRED
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Change, Event, Key, NewEvent, Position, Put, Query, Require, Scope
from holdfast.store.rows import journal
from holdfast.store.rows.copies import Copied
from holdfast.store.writing.outcome import commit_surely

PAGE = 1000
NO_VERSION = 1 << 52
"""A version that no record has: asked for, the refusal names the one that it has."""

log = get_logger("holdfast.state")


class CopyRow(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a copy, as `holdfast.store.rows.copies` wants it."""

    snapshot: Stored
    record: Copied


class _Told(NamedTuple):
    """What something sound tells of a damaged object."""

    version: int
    stored: Stored
    words: str


async def heal(store: Store, key: Key, change_id: str) -> bool:
    """Write the object of `key` anew as the soundest source tells it; False where nothing does, or it was deleted."""
    scope = Scope.of_user(key.tenant, key.user)
    version = await _version(store, scope, key)
    told = await _from_journal(store, scope, key) or await _from_copy(store, scope, key)
    if told is None or version == 0:
        return False
    words = f"{key.id}: rebuilt from {told.words} at version {told.version}, as version {version + 1}"
    if told.version < version:
        words += f"; what was changed after version {told.version} is lost"
    body = codec.encode(told.stored, what=f"{key}")
    audit = codec.encode({"agent": "repair", "metadata": {"what": words}}, what=REPAIRED)
    delta = journal.delta(None, told.stored.plain(), version + 1)
    change = Change(
        change_id=change_id,
        writes=(Put(key=key, body=body, expect=version, due=told.stored.expires_at),),
        events=(NewEvent(key=key, name=REPAIRED, body=audit, delta=delta),),
    )
    try:
        await commit_surely(store, scope, change)
    except Conflict:
        return True  # somebody else was quicker: look again
    log.warning("damaged object repaired", path=key.id, what=words)
    return True


async def _version(store: Store, scope: Scope, key: Key) -> int:
    """The version of a record that cannot be read."""
    asked = Change(change_id=f"look:{key.id}", requires=(Require(key=key, version=NO_VERSION),))
    try:
        await store.commit(scope, asked)
    except Conflict as error:
        return int(error.seen or 0)
    return 0


async def _from_journal(store: Store, scope: Scope, key: Key) -> _Told | None:
    try:
        rows = await journal_of(store, scope, key)
        found = journal.rebuilt(journal.own_life(rows))
        if found is None or rows[-1].name in GONE:
            return None
        stored = codec.decode(codec.encode(found.body, what=f"{key}"), Stored)
    except (Corrupt, InvalidInput) as error:
        log.warning("an object's journal is damaged, too: run verify and repair", path=key.id, error=repr(error))
        return None
    return _Told(found.version, stored, "its journal")


async def _from_copy(store: Store, scope: Scope, key: Key) -> _Told | None:
    """The newest sound copy of the object in a checkpoint."""
    try:
        page = await store.scan(scope, Query(kind=COPY, prefix=f"{key.id}{BETWEEN}"), limit=PAGE)
    except Corrupt:
        return None
    copies = [codec.decode(record.body, CopyRow) for record in page.records if record.key.user == key.user]
    newest = max(copies, key=lambda copy: copy.record.version, default=None)
    return None if newest is None else _Told(newest.record.version, newest.snapshot, "the last checkpoint")


async def journal_of(store: Store, scope: Scope, key: Key, *, after_version: int = 0) -> list[Event]:
    """All rows of an object's journal behind a version, oldest first."""
    found: list[Event] = []
    after: Position | None = None
    while page := await store.events(scope, record=key, after=after, after_version=after_version, limit=PAGE):
        found += page
        after = page[-1].position
    return found
