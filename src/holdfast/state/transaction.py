"""Several objects changed together: all or none, on what was read, with one's own writes read back before they are.

Nothing is locked while a transaction decides. It commits only where everything that it read is still as it was, and
says of each object that is not.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar, overload

from holdfast.context import UserExecutionContext
from holdfast.errors import Conflict, InvalidInput, NotFound, Rejected
from holdfast.state.dependencies import above, uses_of
from holdfast.state.names import BETWEEN, EDGE, checked_prefix, object_key, owner_of, ref, scope_of
from holdfast.state.objects import Author, Held, StateObject, Stored, plain, shown
from holdfast.state.past import last_version
from holdfast.state.rules import (
    DELETED,
    SET,
    UPDATED,
    Keep,
    Seen,
    Written,
    check_expected,
    conflict_over,
    is_beneath,
    moved,
    next_body,
    refuse_cycle,
    requirements,
    sources,
    written,
)
from holdfast.state.shelf import Shelf
from holdfast.store.contract.records import Key, Query

T = TypeVar("T")
OBJECTS_MAX = 500
"""Objects that one transaction changes."""
SCANNED_MAX = 1000
"""Objects beneath one prefix of which a transaction requires that they stay as it found them."""


class _Draft(NamedTuple):
    stored: Stored | None
    name: str


class StateTransaction:
    """Reads and writes of several objects that become true together, or not at all.

    What it wrote it reads back. `rollback()` drops all of it; so does an error that leaves the block. Leaving the block
    commits, or raises Conflict whose `paths` name each object that somebody else changed meanwhile.

    Example::

        async with state.transaction(context, why="hand over") as t:
            plan = await t.get("plan", Plan)
            open = [each.path async for each in t.scan("open")]
            await t.set("plan", plan.value.without("a"))
            await t.set("done/a", {"by": "triage"})
    """

    def __init__(self, shelf: Shelf, context: UserExecutionContext, author: Author) -> None:
        self._shelf = shelf
        self._context = context
        self._scope = scope_of(context)
        self._author = author
        self._seen: dict[Key, Held | None] = {}
        self._above: dict[Key, Held | None] = {}
        self._drafts: dict[Key, _Draft] = {}
        self._is_over = False
        self._made: dict[Key, int] = {}
        self._at = 0.0
        self.versions: dict[str, int] = {}
        """Once it is committed, the version of each object that it set."""

    @overload
    async def get(self, path: str, *, shared: bool = False) -> StateObject[Any]: ...
    @overload
    async def get(self, path: str, kind: type[T], *, shared: bool = False) -> StateObject[T]: ...
    async def get(self, path: str, kind: Any = None, *, shared: bool = False) -> StateObject[Any]:
        """The object, as this transaction leaves it. Raises NotFound."""
        found = await self.find(path, kind, shared=shared)
        if found is None:
            raise NotFound(f"{path}: there is no such object", path=path)
        return found

    @overload
    async def find(self, path: str, *, shared: bool = False) -> StateObject[Any] | None: ...
    @overload
    async def find(self, path: str, kind: type[T], *, shared: bool = False) -> StateObject[T] | None: ...
    async def find(self, path: str, kind: Any = None, *, shared: bool = False) -> StateObject[Any] | None:
        """As `get`; None where there is none, which then must be so when it commits."""
        key = object_key(self._context, path, shared=shared)
        await self.read([key])
        there = self._now(key)
        return None if there is None else shown(key, there, kind)

    @overload
    def scan(self, prefix: str = "", *, shared: bool = False) -> AsyncIterator[StateObject[Any]]: ...
    @overload
    def scan(self, prefix: str, kind: type[T], *, shared: bool = False) -> AsyncIterator[StateObject[T]]: ...
    async def scan(
        self, prefix: str = "", kind: Any = None, *, shared: bool = False
    ) -> AsyncIterator[StateObject[Any]]:
        """All objects beneath `prefix`, by path, as this transaction leaves them: with what it set before, without what
        it deleted. Raises InvalidInput where there are more than 1000.

        Each that is found must be as it was found when this commits; else Conflict names it. Nothing is promised of
        what is *not* found: an object that somebody else makes beneath `prefix` meanwhile stands in nobody's way. Who
        needs that has all who make one change one object as well, and gets that here.
        """
        for key in await self._beneath(owner_of(self._context, shared), checked_prefix(prefix)):
            if (there := self._now(key)) is not None:
                yield shown(key, there, kind)

    async def set(
        self,
        path: str,
        value: object,
        *,
        shared: bool = False,
        expect: int | None = None,
        until: float | Keep | None = Keep.AS_BEFORE,
        depends_on: Iterable[StateObject[Any] | str] | None = None,
    ) -> None:
        """Set an object. See `StateManager.set`; `until`: when it will be gone, in epoch seconds."""
        key = object_key(self._context, path, shared=shared)
        asked = None if depends_on is None else uses_of(self._context, key, depends_on)
        await self.read([key, *(asked or ())])
        check_expected(key, expect, self._as_seen(key))
        uses = None if asked is None else await self._uses(key, asked)
        body = next_body(self._as_seen(key), plain(value, what=path), self._author, until=until, uses=uses)
        self._draft(key, _Draft(body, SET))

    async def update(
        self, path: str, change: Callable[[Any], object], kind: type[Any] | None = None, *, shared: bool = False
    ) -> None:
        """Set an object to what `change` makes of its value. Raises NotFound."""
        there = await self.get(path, kind, shared=shared) if kind is not None else await self.get(path, shared=shared)
        key = object_key(self._context, path, shared=shared)
        value = plain(change(there.value), what=path)
        self._draft(key, _Draft(next_body(self._as_seen(key), value, self._author, until=Keep.AS_BEFORE), UPDATED))

    async def delete(self, path: str, *, shared: bool = False, expect: int | None = None) -> None:
        """Delete an object. Raises NotFound."""
        key = object_key(self._context, path, shared=shared)
        await self.read([key])
        check_expected(key, expect, self._as_seen(key))
        if self._now(key) is None:
            raise NotFound(f"{path}: there is no such object to delete", path=path)
        self._draft(key, _Draft(None, DELETED))

    def made(self, key: Key) -> StateObject[Any]:
        """An object as this transaction, which is committed, set it; `stale` by its own sources alone."""
        stored = self._drafts[key].stored
        assert stored is not None, f"{key.id}: asked for what was deleted"
        named = sources(key, stored)
        stale = {name for name, source in named.items() if self._version_of(source) != stored.uses[name]}
        return shown(key, Held(self._made[key], stored, self._at), None, tuple(sorted(stale)))

    def _version_of(self, key: Key) -> int:
        """Of an object as this transaction, which is committed, left it; 0 where nothing is known of it."""
        there = self._seen.get(key)
        return self._made.get(key, 0 if there is None else there.version)

    def rollback(self) -> None:
        """Drop what was written here; the transaction is over."""
        self._drafts.clear()
        self._is_over = True

    async def commit(self) -> None:
        """Make it all true. Raises Conflict, naming each object that others changed since it was read here."""
        if self._is_over:
            return
        self._is_over = True
        parts = {
            key: written(key, self._seen[key], draft.stored, draft.name, self._author.audit)
            for key, draft in self._drafts.items()
        }
        expected = {key: 0 if there is None else there.version for key, there in (self._above | self._seen).items()}
        if not any(part.writes for part in parts.values()):
            differing = moved(expected, await self._shelf.held(self._scope, list(expected)))
            if differing:
                raise conflict_over(differing)
            return
        await self._write(parts, expected)

    async def read_all(self, paths: Iterable[str], *, shared: bool = False) -> None:
        """Read objects that will be needed, all at once; what asks for them later asks no store."""
        await self.read([object_key(self._context, path, shared=shared) for path in paths])

    async def read(self, keys: Sequence[Key]) -> None:
        """Read objects of which nothing is known here yet, all at once."""
        self._check_begun()
        missing = [key for key in keys if key not in self._seen]
        if missing:
            self._seen |= await self._shelf.held(self._scope, missing)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.commit()
        else:
            self.rollback()

    def __repr__(self) -> str:
        return f"StateTransaction(read={len(self._seen)}, changed={len(self._drafts)}, over={self._is_over})"

    def _check_begun(self) -> None:
        if self._is_over:
            raise Rejected("transaction: it is over; begin another")

    async def _beneath(self, owner: tuple[str, str], prefix: str) -> list[Key]:
        """What is known here beneath `prefix`, once all that the store has there is. What was read before stays as it
        was read; an object whose time has run out is not there."""
        self._check_begun()
        found: set[Key] = {key for key in self._seen if is_beneath(key, owner, prefix)}
        async for page in self._shelf.pages(self._scope, prefix, owner):
            now = self._shelf.now_s()
            live = {key: there for key, there in page if key not in self._seen and there.is_live(now)}
            self._seen |= live
            found |= live.keys()
            if len(found) > SCANNED_MAX:
                raise InvalidInput(
                    f"transaction: expected at most {SCANNED_MAX} objects beneath {prefix!r}, saw more; scan less, or "
                    "outside of the transaction",
                    seen=len(found),
                )
        return sorted(found)

    async def _write(self, parts: Mapping[Key, Written], expected: Mapping[Key, int]) -> None:
        writes = [write for part in parts.values() for write in part.writes]
        events = [event for part in parts.values() for event in part.events]
        requires = requirements(expected, (write.key for write in writes))
        try:
            commit = await self._shelf.commit(self._scope, writes=writes, requires=requires, events=events)
        except Conflict as error:
            differing = moved(expected, await self._shelf.held(self._scope, list(expected)))
            raise conflict_over(differing or {error.key: (error.expected or 0, error.seen or 0)}) from error
        versions = dict(zip((write.key for write in writes), commit.versions, strict=True))
        self._made = {key: versions[key] for key in parts if key in versions}
        self._at = commit.at
        self.versions = {key.id: version for key, version in self._made.items()}

    def _now(self, key: Key) -> Held | None:
        """The object as it stands here; a version of its own write is the one that it will have."""
        there = self._seen[key]
        if (draft := self._drafts.get(key)) is None:
            return there if there is not None and there.is_live(self._shelf.now_s()) else None
        if draft.stored is None:
            return None
        return Held((0 if there is None else there.version) + 1, draft.stored, self._shelf.now_s())

    def _as_seen(self, key: Key) -> Seen:
        there = self._now(key)
        return Seen(0, None) if there is None else Seen(there.version, there.stored)

    def _draft(self, key: Key, draft: _Draft) -> None:
        if key not in self._drafts and len(self._drafts) >= OBJECTS_MAX:
            raise InvalidInput(f"transaction: expected at most {OBJECTS_MAX} objects to be changed, saw more")
        self._drafts[key] = draft

    async def _uses(self, key: Key, asked: Mapping[Key, int | None]) -> dict[str, int]:
        """The versions that `key` is made from. Raises NotFound for what is not there, InvalidInput for a cycle."""
        uses: dict[str, int] = {}
        for source, version in asked.items():
            there = self._now(source)
            if there is None:
                raise NotFound(f"{key.id}: expected to depend on {source.id}, saw no such object", path=source.id)
            if source in self._drafts and self._seen[source] is None:  # it may have been there before
                version = await last_version(self._shelf, self._scope, source) + 1
            elif source in self._drafts or version is None:
                version = there.version
            uses[ref(source, dependent=key)] = version
        before = self._now(key)
        if not uses or (before is not None and uses.keys() <= before.stored.uses.keys()):
            return uses
        if key in asked or self._seen[key] is not None or await self._has_dependents(key):
            await self._refuse_cycle(key, uses)
        return uses

    async def _has_dependents(self, key: Key) -> bool:
        """Whether somebody depends on `key`, here or as committed: only then can it be above its own sources. Nobody
        depends on what never was."""
        if any(draft.stored is not None and draft.stored.uses for draft in self._drafts.values()):
            return True
        if not await self._shelf.store.events(self._scope, record=key, limit=1):
            return False
        page = await self._shelf.store.scan(self._scope, Query(kind=EDGE, prefix=f"{key.id}{BETWEEN}"), limit=1)
        return bool(page.records)

    async def _refuse_cycle(self, key: Key, uses: Mapping[str, int]) -> None:
        """All that is above `key` must be as it was looked at when this commits, or two could close a cycle at once."""
        start = Stored(value=None, by="", uses=dict(uses))
        read = await above(self._shelf, self._scope, {key: Held(0, start, 0.0)}, self._seen)
        drafted = {each: self._now(each) for each in self._drafts}
        refuse_cycle(key, uses, read | drafted)
        self._above |= {each: there for each, there in read.items() if each not in self._seen and each != key}


class Lines:
    """Who lost a race for an object stands in line for it, so that those of one process do not race each other on."""

    WAIT_MAX_S = 1.0
    """A line is a courtesy: whoever holds a place and asks for it again further in waits no longer than this."""

    def __init__(self) -> None:
        self._places: dict[tuple[asyncio.AbstractEventLoop, Key], tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def stand(self, keys: Iterable[Key]) -> AsyncIterator[None]:
        """First in line for all of `keys`, or after WAIT_MAX_S in any case."""
        loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.WAIT_MAX_S):
                    for key in sorted(keys):
                        await stack.enter_async_context(self._place((loop, key)))
            yield

    @asynccontextmanager
    async def _place(self, where: tuple[asyncio.AbstractEventLoop, Key]) -> AsyncIterator[None]:
        lock, count = self._places.get(where, (asyncio.Lock(), 0))
        self._places[where] = (lock, count + 1)
        try:
            async with lock:
                yield
        finally:
            lock, count = self._places[where]
            if count == 1:
                del self._places[where]
            else:
                self._places[where] = (lock, count - 1)
