"""One outage: a store in memory that goes on from what this process knew, and every change made there, in order."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable

from msgspec.structs import replace

from holdfast.clock import Clock
from holdfast.errors import Unavailable
from holdfast.store.contract.history import History, Stream
from holdfast.store.contract.records import Change, Claim, Commit, Key, Position, Put, Record, Scope
from holdfast.store.decisions.rules import row_of
from holdfast.store.fallback.rules import Standing, Taken, Written
from holdfast.store.memory.store import MemoryStore
from holdfast.store.rows.digest import digest_of
from holdfast.store.writing.wakeup import Wakeup

CHANGES_MAX = 100_000
BYTES_MAX = 256 * 1024 * 1024
"""Bounds on what waits for the server's return; beyond them nothing more is taken."""
LAST_STRETCH = 64
CREDIT_MAX = 100.0
ADMISSION_LOOKS_MAX = 1000
ADMISSION_LOOK_S = 2.0
"""Bounds on how writers are held back while changes land: none for the last few; a few at once; no longer than this for
one that nothing lands for."""
INCARNATIONS_FROM = 2**32
"""A place in a stream that was given out in an outage has an incarnation above this: it is one of its own, of which the
server knows nothing."""

Entry = Written | Taken


class Outage:
    """What this process does while its server is away. Whoever commits or claims holds the lock of the store."""

    def __init__(self, clock: Clock, wakeup: Wakeup, *, why: str, payload_bytes_max: int) -> None:
        self.memory = MemoryStore(clock=clock, wakeup=wakeup, payload_bytes_max=payload_bytes_max)
        self.why = why
        self.began_at = clock.time_s()
        self.trouble: str | None = None
        self.stands: dict[Key, Standing] = {}
        self._clock = clock
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._touched: set[Key] = set()
        self._credit: float | None = None
        self._admits = Wakeup()

    async def begin(self, records: Iterable[Record]) -> None:
        """Start with `records`. Waits for nothing."""
        await self.memory.adopt({}, incarnation=INCARNATIONS_FROM + int(self.began_at))
        await self.memory.load([_history(record) for record in records])

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def oldest(self) -> Entry | None:
        """What has to go in next."""
        return self._entries[0] if self._entries else None

    def done(self) -> None:
        """The oldest is over, whatever became of it."""
        entry = self._entries.popleft()
        if isinstance(entry, Written):
            self._bytes -= _bytes_of(entry.change)

    def landed(self) -> None:
        """The oldest is over, whatever became of it, and the server is there: from now on a writer may come for two
        changes that landed, and none while the last few land, for memory is quicker than the server."""
        self.done()
        self._credit = min((self._credit or 0.0) + 0.5, CREDIT_MAX) if len(self) > LAST_STRETCH else 0.0
        self._admits.advance()

    def let_all_in(self) -> None:
        """The server went away again, or has everything."""
        self._credit = None
        self._admits.advance()

    async def admitted(self) -> None:
        """Returns when a writer may go on: at once but while changes land."""
        for _ in range(ADMISSION_LOOKS_MAX):
            since = self._admits.count
            if self._credit is None:
                return
            if self._credit >= 1:
                self._credit -= 1
                return
            if await self._admits.wait(since, timeout_s=ADMISSION_LOOK_S) == since:
                return

    def commit(self, scope: Scope, change: Change) -> Commit:
        """Commit in memory, and keep the change for the server."""
        size = _bytes_of(change)
        self._check_room(size)
        keys = dict.fromkeys([*change.keys, *(require.key for require in change.requires)])
        before = self.memory.peek(keys)
        answer = self.memory.commit_now(scope, change)
        if change.writes or change.events or change.removes:
            after = self.memory.peek(change.keys)
            self._entries.append(Written(scope=scope, change=change, before=before, after=after, at=answer.at))
            self._bytes += size
            self._touched.update(change.keys)
        return answer

    def claim(self, scope: Scope, claim: Claim) -> list[Record]:
        """Claim in memory, and keep for the server what was taken."""
        self._check_room(0)
        taken = self.memory.claim_now(scope, claim)
        self._entries.extend(Taken(claim=claim, before=before, after=after) for before, after in taken)
        self._touched.update(after.key for _, after in taken)
        return [after for _, after in taken]

    async def learn(self, record: Record) -> None:
        """The server's answer that came late, when others had given it up. What was written here since stays."""
        if record.key not in self._touched:
            await self.memory.load([_history(record)])

    def weakness(self) -> str:
        """In words what is missing."""
        words = (
            f"Redis has been away for {max(0.0, self._clock.time_s() - self.began_at):.0f} s ({self.why}): this "
            f"process goes on alone, in memory, from what it knew; it does not see what others write, and {len(self)} "
            "changes "
            "wait for Redis to come back and end with this process"
        )
        return f"{words}; they could not be merged yet: {self.trouble}" if self.trouble else words

    def ailment(self) -> str | None:
        """Why nothing more can be committed."""
        return self._full() if len(self) >= CHANGES_MAX or self._bytes >= BYTES_MAX else None

    def _check_room(self, size: int) -> None:
        if len(self) >= CHANGES_MAX or self._bytes + size > BYTES_MAX:
            raise Unavailable(self._full())

    def _full(self) -> str:
        return (
            f"Redis is away, and memory takes no more: expected at most {CHANGES_MAX} changes of {BYTES_MAX} bytes to "
            f"wait for it, saw {len(self)} of {self._bytes}; bring it back, {self.why}"
        )

    def __repr__(self) -> str:
        return f"Outage({self.memory!r}, waiting={len(self)})"


class Landings:
    """Where in the server's streams the changes of the last outage begin: from there on somebody reads who comes with a
    place that he was given in an outage."""

    STREAMS_MAX = 10_000

    def __init__(self) -> None:
        self._first: OrderedDict[Stream, Position] = OrderedDict()
        self._new: set[Stream] = set()

    def begin(self) -> None:
        """Another outage is over."""
        self._new.clear()

    def is_known(self, stream: Stream) -> bool:
        """Whether it was told for this outage."""
        return stream in self._new

    def tell(self, stream: Stream, first: Position) -> None:
        """The first event of the outage in `stream`."""
        self._new.add(stream)
        self._first[stream] = Position(first.incarnation, first.seq - 1)
        self._first.move_to_end(stream)
        while len(self._first) > self.STREAMS_MAX:
            self._first.popitem(last=False)

    def place(self, stream: Stream, after: Position | None) -> Position | None:
        """`after` in the server's own numbers."""
        if after is None or after.incarnation < INCARNATIONS_FROM:
            return after
        return self._first.get(stream)


def _history(record: Record) -> History:
    """A record as if its journal were cut behind its last event: that is with the server. A digest is taken anew where
    there is none."""
    known = record if record.digest else replace(record, digest=digest_of(record))
    return History(key=record.key, row=row_of(known), events=(), anchor=record.chain)


def _bytes_of(change: Change) -> int:
    """About what a change holds in memory: its bodies before and after, its events."""
    bodies = sum(len(write.body) for write in change.writes if isinstance(write, Put))
    return bodies + sum(len(event.body) + len(event.delta) for event in change.events)
