"""One durable stream for each user: what was committed about him, in one order, read from a cursor.

To publish is to commit, so an event has its number before anybody sees it. A reader pulls from his cursor and is only
woken, so a slow one costs a cursor and one page. Who comes back to a history that is gone gets a snapshot and goes on.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

import msgspec

from holdfast import codec
from holdfast.clock import Clock, Randomness, SystemClock, system_randomness
from holdfast.context import UserExecutionContext, require_context
from holdfast.errors import CommitUnknown, InvalidInput, Unavailable
from holdfast.ids import uuid7
from holdfast.logs import get_logger
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Change, Event, Key, NewEvent, Position, Put, Query, Record, Scope
from holdfast.tasks import Supervisor
from holdfast.users.bell import Bell
from holdfast.users.rules import PAGE_FIRST, START, UserKey, follows, is_resumable, next_page

FEED = "feed"
"""The record whose journal a user's published events are: one a user."""
MARK = "stream.marked"
"""The event at which a snapshot begins; readers do not hand it out."""
EVENT_BYTES_MAX = 64 * 1024
BATCH_MAX = 64
"""Events in one commit."""
SNAPSHOT_PAGE = 50
SNAPSHOT_KINDS = ("run", "state")
ATTEMPTS_MAX = 5
"""Bound on commits of one batch whose answers get lost."""
KNOWN_MAX = 10_000
"""Of how many users the version of their feed is kept in mind."""
Reason = Literal["new", "gap"]

log = get_logger("holdfast.users")


class StreamEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a user's stream. `kind` and `id` name the record that it is about ("feed" for what was published),
    `version` that record's; `run`, `thread` and `request` are ids of its context; `at` is epoch seconds."""

    position: Position
    name: str
    at: float
    data: Any = None
    kind: str = FEED
    id: str = ""
    version: int = 0
    run: str = ""
    thread: str = ""
    request: str = ""


class StreamObject(msgspec.Struct, frozen=True, kw_only=True):
    """One record of a user's as it stands: `body` is its JSON."""

    kind: str
    id: str
    version: int
    status: str
    body: bytes


class StreamSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader gets instead of events that he cannot have: his runs and objects as they stand, in parts of at
    most 50. Every event behind `position` follows the last part; what a part shows may already contain some of them,
    which the versions tell. `reason`: "new" for a reader without a cursor, "gap" for one whose history is gone."""

    position: Position
    reason: Reason
    objects: tuple[StreamObject, ...]
    is_last: bool
    name: str = "stream.snapshot"


StreamItem = StreamEvent | StreamSnapshot


class _Envelope(msgspec.Struct, omit_defaults=True):
    """How a published event is stored."""

    data: Any = None
    run: str = ""
    thread: str = ""
    request: str = ""


class UserStreams:
    """The streams of all users over one store. For one event loop; `close` it, or use it as `async with`.

    Example::

        async with UserStreams(store) as streams:
            await streams.publish(ana, "report.ready", {"pages": 3})
            async for event in streams.stream(ana, after="0:0"):
                print(event.position, event.name)
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock | None = None,
        randomness: Randomness | None = None,
        event_bytes_max: int = EVENT_BYTES_MAX,
        snapshot_kinds: Sequence[str] = SNAPSHOT_KINDS,
    ) -> None:
        self._store = store
        self._clock = clock or SystemClock()
        self._randomness = randomness or system_randomness()
        self._event_bytes_max = event_bytes_max
        self._snapshot_kinds = tuple(snapshot_kinds)
        self._tasks = Supervisor("streams", on_failure=_failed)
        self._versions: OrderedDict[UserKey, int] = OrderedDict()
        self._reads: dict[tuple[UserKey, Position, int], _Read] = {}
        self.bell = Bell(store, self._clock, self._tasks)

    async def publish(self, context: UserExecutionContext, name: str, data: object = None) -> Position:
        """Commit one event; its position. Raises InvalidInput beyond `event_bytes_max`, and what a commit raises."""
        return await self.publish_all(context, [(name, data)])

    async def publish_all(self, context: UserExecutionContext, events: Sequence[tuple[str, object]]) -> Position:
        """Commit up to 64 events in that order, all or none; the position of the last. Once, also where an answer is
        lost. Raises InvalidInput, and what a commit raises."""
        encoded = [(name, self.encode(context, name, data)) for name, data in events]
        return await self.publish_encoded((context.tenant, context.user), encoded)

    def encode(self, context: UserExecutionContext, name: str, data: object) -> bytes:
        """The body of an event to publish. Raises InvalidInput: not JSON, or beyond `event_bytes_max`."""
        require_context(context)
        if not name or name == MARK:
            raise InvalidInput(f"event: expected a name other than {MARK!r}, saw {name!r:.60}")
        envelope = _Envelope(data=data, run=context.run, thread=context.thread, request=context.request)
        return codec.encode(envelope, what=f"event {name}", bytes_max=self._event_bytes_max)

    async def publish_encoded(self, key: UserKey, events: Sequence[tuple[str, bytes]]) -> Position:
        """As `publish_all`, of bodies that `encode` gave for contexts of the user `key`."""
        if not 1 <= len(events) <= BATCH_MAX:
            raise InvalidInput(f"publish: expected 1 to {BATCH_MAX} events, saw {len(events)}")
        position = await self._commit(key, events)
        self.bell.ring(key)
        return position

    def stream(self, context: UserExecutionContext, *, after: Position | str | None = None) -> StreamReader:
        """An endless iterator over the context's user's events behind `after` ("incarnation:seq"), "0:0" being the
        beginning. Without it, and where `after` cannot be gone on from, a snapshot comes first. Raises InvalidInput."""
        require_context(context)
        cursor = Position.parse(after) if isinstance(after, str) else after
        return StreamReader(self, context, cursor)

    async def mark(self, key: UserKey) -> Position:
        """A position such that what was committed before it is seen by whoever reads now."""
        return await self._commit(key, [(MARK, b"{}")])

    async def events(self, key: UserKey, after: Position, limit: int) -> list[Event]:
        """A page of the stream of `key`. Readers who stand at one place and look at one time share one read."""
        asked = (key, after, limit)
        while (read := self._reads.get(asked)) is not None and read.heard == self._heard:
            await asyncio.wait([read.page])
            if not read.page.cancelled():
                return read.page.result()
        mine = self._reads[asked] = _Read(self._heard)
        try:
            page = await self._store.events(Scope.of_user(*key), stream=key, after=after, limit=limit)
            mine.page.set_result(page)
            return page
        finally:
            mine.page.cancel()  # unless it is done: whoever waits for it reads for himself
            if self._reads.get(asked) is mine:
                del self._reads[asked]

    async def objects(
        self, key: UserKey, kind: int, after: str | None, limit: int
    ) -> tuple[list[Record], int, str | None]:
        """A page of what stands, beginning with the `kind`-th kind; and where the next one begins."""
        scope, query = Scope.of_user(*key), Query(kind=self._snapshot_kinds[kind])
        page = await self._store.scan(scope, query, after=after, limit=limit)
        own = [record for record in page.records if record.key.user == key[1]]
        return (own, kind, page.next) if page.next is not None else (own, kind + 1, None)

    @property
    def _heard(self) -> tuple[int, int]:
        """All that rang so far. A read that began before the last ring may miss what it was rung for."""
        return self.bell.rings, self.bell.sweeps

    @property
    def kinds(self) -> int:
        """How many kinds of records a snapshot goes through."""
        return len(self._snapshot_kinds)

    async def close(self) -> None:
        """Stop watching the store, which stays open."""
        await self._tasks.stop()

    async def __aenter__(self) -> UserStreams:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"UserStreams({self.bell!r})"

    async def _commit(self, key: UserKey, events: Sequence[tuple[str, bytes]]) -> Position:
        feed = Key(*key, FEED, "user")
        known = self._versions.get(key)
        if known is None:
            (record,) = await self._store.read(Scope.of_user(*key), [feed])
            known = 0 if record is None else record.version
        change = Change(
            change_id=uuid7(self._clock, self._randomness),
            writes=(Put(key=feed, body=b"{}", expect=None),),
            events=tuple(NewEvent(key=feed, name=name, body=body) for name, body in events),
        )
        lost: CommitUnknown | None = None
        for _ in range(ATTEMPTS_MAX):
            if lost is not None and (position := await self._found(key, change.change_id, known, lost)) is not None:
                return position
            try:
                commit = await self._store.commit(Scope.of_user(*key), change)
            except CommitUnknown as error:
                lost = error
                continue
            self._remember(key, commit.versions[0])
            assert commit.position is not None, "a commit with events has a position"
            return commit.position
        assert lost is not None, "only a lost answer leads to another attempt"
        raise lost

    async def _found(self, key: UserKey, change_id: str, after_version: int, lost: CommitUnknown) -> Position | None:
        """Where the change stands whose answer was lost; None where it was not committed."""
        feed, after, found = Key(*key, FEED, "user"), None, None
        try:
            while page := await self._store.events(
                Scope.of_user(*key), record=feed, after=after, after_version=after_version
            ):
                found = next((event.position for event in reversed(page) if event.change_id == change_id), found)
                after = page[-1].position
        except Unavailable as error:  # not to be told as such: that would mean that nothing happened
            raise CommitUnknown(f"{lost.message}; nor can it be looked up: {error.message}", **lost.facts) from error
        return found

    def _remember(self, key: UserKey, version: int) -> None:
        self._versions[key] = version
        self._versions.move_to_end(key)
        if len(self._versions) > KNOWN_MAX:
            self._versions.popitem(last=False)


class StreamReader(AsyncIterator[StreamItem]):
    """Reads one user's stream for one consumer. `position`: what to come back with, `None` before the first item.

    Nothing has to be closed: a reader that is dropped listens no more. Raises ContextClosed once its context is.
    """

    def __init__(self, streams: UserStreams, context: UserExecutionContext, after: Position | None) -> None:
        self._streams = streams
        self._context = context
        self._key = key = (context.tenant, context.user)
        self._cursor = after if after is not None else START
        self._is_checked = False
        self._page: deque[Event] = deque()
        self._limit = PAGE_FIRST
        self._snapshot: _Snapshot | None = _Snapshot("new") if after is None else None
        self._ear = streams.bell.listen(key)
        self.position = after

    def __aiter__(self) -> StreamReader:
        return self

    async def __anext__(self) -> StreamItem:
        while True:
            require_context(self._context)
            if self._snapshot is not None:
                return await self._next_part(self._snapshot)
            if not self._page and not await self._turn_page():
                continue
            event = self._page.popleft()
            if not follows(self._cursor, event.position):
                self._page.clear()
                self._snapshot = _Snapshot("gap")
                continue
            self._cursor = self.position = event.position
            if event.name != MARK:
                return _shown(event)

    async def _turn_page(self) -> bool:
        """Read on, and wait where there is nothing. Whether there is a page."""
        self._ear.attend()
        if not self._is_checked:
            return await self._resume()
        page = await self._streams.events(self._key, self._cursor, self._limit)
        size = sum(len(event.body) + len(event.delta) for event in page)
        self._limit = next_page(self._limit, got=len(page), got_bytes=size)
        self._page.extend(page)
        if not self._page:
            await self._ear.wait(self._cursor)
        return bool(self._page)

    async def _resume(self) -> bool:
        """Look whether the cursor belongs to this history, by the event that stands at it."""
        cursor = self._cursor
        before = cursor._replace(seq=cursor.seq - 1) if cursor.seq else cursor
        page = await self._streams.events(self._key, before, self._limit)
        self._is_checked = True
        if not is_resumable(cursor, page[0].position if page else None):
            self._snapshot = _Snapshot("gap")
            return False
        self._page.extend(event for event in page if event.position != cursor)
        return bool(self._page)

    async def _next_part(self, snapshot: _Snapshot) -> StreamSnapshot:
        if snapshot.position is None:
            snapshot.position = await self._streams.mark(self._key)
        # Kept with the snapshot until they are handed out: who is cancelled on the way asks again and misses none.
        while len(snapshot.found) < SNAPSHOT_PAGE and snapshot.kind < self._streams.kinds:
            found, snapshot.kind, snapshot.after = await self._streams.objects(
                self._key, snapshot.kind, snapshot.after, SNAPSHOT_PAGE - len(snapshot.found)
            )
            snapshot.found += found
        records, snapshot.found = snapshot.found, []
        is_last = snapshot.kind >= self._streams.kinds
        if is_last:
            self._cursor = self.position = snapshot.position
            self._is_checked, self._snapshot = True, None
        return StreamSnapshot(
            position=snapshot.position,
            reason=snapshot.reason,
            objects=tuple(_object(record) for record in records),
            is_last=is_last,
        )

    def __repr__(self) -> str:
        return f"StreamReader({self._key[1]!r} of {self._key[0]!r}, at {self.position or 'the beginning'})"


class _Read:
    """A read that is under way, and what had rung when it began."""

    __slots__ = ("heard", "page")

    def __init__(self, heard: tuple[int, int]) -> None:
        self.heard = heard
        self.page: asyncio.Future[list[Event]] = asyncio.get_running_loop().create_future()


class _Snapshot:
    """How far a reader is in a snapshot."""

    __slots__ = ("after", "found", "kind", "position", "reason")

    def __init__(self, reason: Reason) -> None:
        self.reason: Reason = reason
        self.position: Position | None = None
        self.kind = 0
        self.after: str | None = None
        self.found: list[Record] = []


def _object(record: Record) -> StreamObject:
    return StreamObject(
        kind=record.key.kind, id=record.key.id, version=record.version, status=record.status, body=record.body
    )


def _shown(event: Event) -> StreamEvent:
    """What a reader sees of a journal row."""
    base = StreamEvent(
        position=event.position,
        name=event.name,
        at=event.at,
        kind=event.key.kind,
        id=event.key.id,
        version=event.version,
    )
    if event.key.kind != FEED:
        run = event.key.id if event.key.kind == "run" else ""
        return msgspec.structs.replace(base, data=codec.decode(event.body), run=run)
    told = codec.decode(event.body, _Envelope)
    return msgspec.structs.replace(base, data=told.data, run=told.run, thread=told.thread, request=told.request)


def _failed(name: str, error: BaseException) -> None:
    log.error("streams: a task failed", task=name, error=repr(error))
