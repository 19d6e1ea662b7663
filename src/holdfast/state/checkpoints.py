"""Checkpoints of a whole network of objects: one moment of all of them, taken while they change.

A checkpoint begins with a row in the journal, and that row's place in the stream is the moment: every change before it
is in, every one after it is not. Objects are copied as they are found, and those that changed since are told back from
their journals. So nobody waits for it, and nothing bounds its size.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

import msgspec
from msgspec.structs import replace

from holdfast import codec
from holdfast.clock import utc
from holdfast.context import UserExecutionContext
from holdfast.errors import Conflict, Corrupt, NotFound, Unavailable
from holdfast.state.healing import CopyRow, journal_of
from holdfast.state.names import (
    COPY,
    MANIFEST,
    OBJECT,
    checked_name,
    checked_prefix,
    copied_key,
    copy_key,
    owner_of,
    scope_of,
)
from holdfast.state.objects import Author, Held, Stored, author
from holdfast.state.past import last_version
from holdfast.state.rules import GONE, RESTORED, CopyOf, Written, is_beneath, restored, slices, written
from holdfast.state.shelf import Shelf
from holdfast.store.contract.records import ABSENT, Delete, Key, NewEvent, Position, Put, Query, RemovePrefix, Scope
from holdfast.store.rows import journal
from holdfast.store.rows.copies import Copied
from holdfast.store.rows.journal import SNAPSHOT_EVERY

ATTEMPTS_MAX = 50
PAGE = 500
EVENTS_PAGE = 1000
BEGUN = "checkpoint"
WRITING, COMPLETE = "writing", "complete"


class StateCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint of all objects beneath `prefix`, as they were at `position` of the journal.

    Example: `kept = await state.checkpoint(context, "before-repair", prefix="incident")`, later
    `await state.restore(context, "before-repair", why="the repair was wrong")`.
    """

    name: str
    prefix: str
    when: datetime
    who: str
    why: str
    objects: int
    position: str
    shared: bool = False


class _Manifest(msgspec.Struct, frozen=True):
    id: str
    prefix: str
    by: str
    why: str
    at: float = 0.0
    position: str = ""
    objects: int = 0
    unfinished: str = ""
    """The id of another one of the same name that was begun later."""


class _Moment:
    """What changed since a checkpoint's moment, as far as the stream was followed."""

    def __init__(self, shelf: Shelf, scope: Scope, owner: tuple[str, str], prefix: str, position: Position) -> None:
        self._shelf = shelf
        self._scope = scope
        self._owner = owner
        self._prefix = prefix
        self._position = position
        self._cursor = position
        self.changed: dict[Key, int] = {}
        """The objects, each with the version of its first change since."""

    async def follow(self) -> None:
        """Hear of all that was committed until now."""
        while page := await self._shelf.store.events(
            self._scope, stream=self._owner, after=self._cursor, limit=EVENTS_PAGE
        ):
            for event in page:
                if is_beneath(event.key, self._owner, self._prefix):
                    self.changed.setdefault(event.key, event.version)
            self._cursor = page[-1].position

    async def as_it_was(self, key: Key) -> Held | None:
        """An object that changed since, as it was; None where there was none. Raises Corrupt where its journal does not
        tell."""
        first = self.changed[key]
        for after_version in (max(0, first - 2 * SNAPSHOT_EVERY), 0):
            rows = await journal_of(self._shelf.store, self._scope, key, after_version=after_version)
            rows = [row for row in rows if row.position < self._position]
            if not rows and after_version == 0 and first == 1:
                return None
            if rows and rows[-1].name in GONE:
                return None
            told = journal.rebuilt(journal.own_life(rows))
            if told is not None:
                stored = codec.decode(codec.encode(told.body, what=f"{key}"), Stored)
                return Held(told.version, stored, rows[-1].at)
        if not rows:
            return None
        raise Corrupt(f"{key.id}: its journal does not tell how it was at {self._position}; it was trimmed", key=key)


async def take(
    shelf: Shelf, context: UserExecutionContext, name: str, *, prefix: str, shared: bool, by: str, why: str
) -> StateCheckpoint:
    """Keep all objects beneath `prefix` as they are at one moment. One of the same name goes once this one is whole."""
    owner, scope = owner_of(context, shared), scope_of(context)
    prefix = checked_prefix(prefix)
    key = Key(*owner, MANIFEST, checked_name(name))
    made_by = author(context, by, why)
    before = await _manifest(shelf, scope, key)
    manifest = _Manifest(id=shelf.new_id(), prefix=prefix, by=made_by.by, why=why)
    kept = manifest if before is None else replace(before, unfinished=manifest.id)
    begun = await shelf.commit(
        scope,
        writes=[Put(key=key, body=codec.encode(kept), expect=None, status=COMPLETE if kept.position else WRITING)],
        events=[NewEvent(key=key, name=BEGUN, body=made_by.audit)],
    )
    assert begun.position is not None, "a commit with an event has a position"
    moment = _Moment(shelf, scope, owner, prefix, begun.position)
    count = await _copy_all(shelf, scope, owner, manifest, moment, now=begun.at)
    manifest = replace(manifest, at=begun.at, position=str(begun.position), objects=count)
    whole = Put(key=key, body=codec.encode(manifest), expect=begun.versions[0], status=COMPLETE)
    try:
        await shelf.commit(scope, writes=[whole])
    except Conflict:
        await _remove_copies(shelf, scope, owner, prefix, manifest.id)
        raise
    if before is not None:
        for id_ in filter(None, (before.id, before.unfinished)):
            await _remove_copies(shelf, scope, owner, before.prefix, id_)
    return _shown(key, manifest, shared)


async def restore(
    shelf: Shelf, context: UserExecutionContext, name: str, *, shared: bool, by: str, why: str
) -> list[str]:
    """Make all objects beneath the checkpoint's prefix what they were; the paths of those that were changed for it.

    What fits in a change is one commit, all or none; more is several, and may be called again if it ends half-way.
    """
    owner, scope = owner_of(context, shared), scope_of(context)
    manifest = await _whole(shelf, scope, Key(*owner, MANIFEST, checked_name(name)))
    made_by = author(context, by, why or f"checkpoint {name}")
    copies = {key: copy async for key, copy in _copies(shelf, scope, owner, manifest.prefix, manifest.id)}
    if len(copies) != manifest.objects:
        raise Corrupt(f"checkpoint {name}: expected {manifest.objects} copies, saw {len(copies)}; restore a backup")
    for _ in range(ATTEMPTS_MAX):
        present: dict[Key, Held | None] = {}
        async for page in shelf.pages(scope, manifest.prefix, owner):
            present |= dict(page)
        parts = await _parts(shelf, scope, copies, present, made_by)
        try:
            for some in slices(
                [part for _, part in parts], rows_of=lambda part: part.rows, bytes_of=lambda part: part.bytes
            ):
                await _write(shelf, scope, some)
        except Conflict:
            continue
        return [key.id for key, _ in parts]
    raise Unavailable(f"checkpoint {name}: others changed its objects {ATTEMPTS_MAX} times meanwhile; try again later")


async def forget(shelf: Shelf, context: UserExecutionContext, name: str, *, shared: bool) -> None:
    """Remove a checkpoint. Raises NotFound."""
    owner, scope = owner_of(context, shared), scope_of(context)
    key = Key(*owner, MANIFEST, checked_name(name))
    manifest = await _manifest(shelf, scope, key)
    if manifest is None:
        raise NotFound(f"checkpoint {name}: there is no such checkpoint", name=name)
    await shelf.commit(scope, writes=[Delete(key=key, expect=None)])
    for id_ in filter(None, (manifest.id, manifest.unfinished)):
        await _remove_copies(shelf, scope, owner, manifest.prefix, id_)


async def listed(shelf: Shelf, context: UserExecutionContext, *, shared: bool) -> list[StateCheckpoint]:
    """The whole checkpoints, by name."""
    found: list[StateCheckpoint] = []
    owner, after = owner_of(context, shared), None
    while True:
        query = Query(kind=MANIFEST, statuses=(COMPLETE,))
        page = await shelf.store.scan(scope_of(context), query, after=after, limit=PAGE)
        found += [
            _shown(record.key, codec.decode(record.body, _Manifest), shared)
            for record in page.records
            if record.key[:2] == owner
        ]
        if page.next is None:
            return found
        after = page.next


async def _copy_all(
    shelf: Shelf, scope: Scope, owner: tuple[str, str], manifest: _Manifest, moment: _Moment, *, now: float
) -> int:
    """Copy each object as it was at the moment; how many there were."""
    done: set[Key] = set()
    async for page in shelf.pages(scope, manifest.prefix, owner):
        await moment.follow()
        as_found = {key: there for key, there in page if key not in moment.changed and there.is_live(now)}
        await _write_copies(shelf, scope, manifest, as_found)
        done |= as_found.keys()
    await moment.follow()
    changed = [key for key in moment.changed if key not in done]
    for some in (changed[start : start + PAGE] for start in range(0, len(changed), PAGE)):
        told = {key: there for key in some if (there := await moment.as_it_was(key)) and there.is_live(now)}
        await _write_copies(shelf, scope, manifest, told)
        done |= told.keys()
    return len(done)


async def _write_copies(shelf: Shelf, scope: Scope, manifest: _Manifest, some: dict[Key, Held]) -> None:
    puts = [
        Put(
            key=copy_key(key, manifest.id),
            body=codec.encode(
                CopyRow(snapshot=there.stored, record=Copied(kind=OBJECT, version=there.version, epoch=0)), what=key.id
            ),
            expect=ABSENT,
            labels={"checkpoint": manifest.id},
        )
        for key, there in some.items()
    ]
    for few in slices(puts, rows_of=lambda _: 1, bytes_of=lambda put: len(put.body)):
        await shelf.commit(scope, writes=few)


async def _copies(
    shelf: Shelf, scope: Scope, owner: tuple[str, str], prefix: str, id_: str
) -> AsyncIterator[tuple[Key, CopyOf]]:
    after: str | None = None
    while True:
        query = Query(kind=COPY, prefix=prefix, labels={"checkpoint": id_})
        page = await shelf.store.scan(scope, query, after=after, limit=PAGE)
        for record in page.records:
            if record.key[:2] == owner:
                row = codec.decode(record.body, CopyRow, what=f"{record.key}")
                yield copied_key(record.key), CopyOf(row.record.version, row.snapshot)
        if page.next is None:
            return
        after = page.next


async def _parts(
    shelf: Shelf, scope: Scope, copies: dict[Key, CopyOf], present: dict[Key, Held | None], made_by: Author
) -> list[tuple[Key, Written]]:
    bases = {key: await last_version(shelf, scope, key) for key in copies if key not in present}
    wanted = restored(copies, present, bases, made_by)
    return [(key, written(key, present.get(key), after, RESTORED, made_by.audit)) for key, after in wanted.items()]


async def _write(shelf: Shelf, scope: Scope, parts: Sequence[Written]) -> None:
    await shelf.commit(
        scope,
        writes=[write for part in parts for write in part.writes],
        events=[event for part in parts for event in part.events],
    )


async def _remove_copies(shelf: Shelf, scope: Scope, owner: tuple[str, str], prefix: str, id_: str) -> None:
    keys = [copy_key(key, id_) async for key, _ in _copies(shelf, scope, owner, prefix, id_)]
    removes = [RemovePrefix(tenant=key.tenant, user=key.user, kind=key.kind, prefix=key.id) for key in keys]
    for some in slices(removes, rows_of=lambda _: 1, bytes_of=lambda _: 0):
        await shelf.commit(scope, removes=some)


async def _manifest(shelf: Shelf, scope: Scope, key: Key) -> _Manifest | None:
    (record,) = await shelf.store.read(scope, [key])
    return None if record is None else codec.decode(record.body, _Manifest, what=f"checkpoint {key.id}")


async def _whole(shelf: Shelf, scope: Scope, key: Key) -> _Manifest:
    manifest = await _manifest(shelf, scope, key)
    if manifest is None or not manifest.position:
        raise NotFound(f"checkpoint {key.id}: there is no such checkpoint, or it was not finished", name=key.id)
    return manifest


def _shown(key: Key, manifest: _Manifest, shared: bool) -> StateCheckpoint:
    return StateCheckpoint(
        name=key.id,
        prefix=manifest.prefix.removesuffix("/"),
        when=utc(manifest.at),
        who=manifest.by,
        why=manifest.why,
        objects=manifest.objects,
        position=manifest.position,
        shared=shared,
    )
