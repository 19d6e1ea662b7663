"""Memos: the results of a visit's steps, kept by name until the visit ends.

A memo is held back until the handler next suspends: a handler that returns at once has its last memo and its transition
in one commit, and the body of a next step starts only after every memo before it is durable.
"""

from __future__ import annotations

import asyncio
import functools
from typing import NamedTuple

from holdfast import codec, faults
from holdfast.errors import Conflict
from holdfast.store.contract.records import ABSENT, Change, Key, NewEvent, Put, Query, Record, Require, Scope
from holdfast.store.rows.blobs import BLOB, BlobRef, cut, digest_of_bytes
from holdfast.workflow.decisions.decision import Row
from holdfast.workflow.model.run import MEMO, Leaf, Run, visit_prefix
from holdfast.workflow.process.large import read_patiently
from holdfast.workflow.process.runtime import Runtime

HELD_MAX = 40
"""Memos and notes that are held back before they are sent off: at 1 MiB each they fit into one change."""
HELD_BYTES_MAX = 44 * 1024 * 1024
"""Bytes of memos that are held back: one of the largest, or many small ones, and the decision they go with beside."""


class Memos:
    """The memos of one visit: those known, those held back, those on their way to the store."""

    def __init__(self, runtime: Runtime, run: Run, path: str, leaf: Leaf) -> None:
        self._runtime = runtime
        self._run_key = run.key
        self._prefix = visit_prefix(run.id, path, leaf)
        self.epoch = 0
        self._run = run
        self._known: dict[str, bytes | BlobRef] = {}
        self._held: list[Put] = []
        self._held_bytes = 0
        self._has_blobs = False
        self._is_whole = False
        self._notes: list[Row] = []
        self._flights: set[asyncio.Task[None]] = set()
        self._refusal: BaseException | None = None
        self._is_doubtful = False
        self._due_flush: asyncio.Handle | None = None

    def begin(self) -> None:
        """A new attempt: what was refused to the one before is its own affair."""
        self._refusal = None

    def begin_new(self) -> None:
        """The visit has just begun: there is nothing to load."""
        self._is_whole = True

    @property
    def is_whole(self) -> bool:
        """Whether all that the visit has left is known here: only who owns the run adds to it."""
        return self._is_whole

    @property
    def may_have_blobs(self) -> bool:
        """Whether chunks may lie under the visit; False only where it is known that none do."""
        return self._has_blobs or not self._is_whole

    async def load(self) -> int:
        """Read what earlier attempts left; how many there were."""
        after: str | None = None
        query = Query(kind=MEMO, prefix=self._prefix)
        scan = self._runtime.store.scan
        while True:
            page = await self._runtime.patiently(functools.partial(scan, self._scope, query, after=after, limit=1000))
            for record in page.records:
                self._known[record.key.id] = _memo_in(record)
                self._has_blobs = self._has_blobs or record.status == BLOB
            if page.next is None:
                self._is_whole = True
                return len(self._known)
            after = page.next

    async def find(self, name: str) -> bytes | None:
        """The memo of a step by name, or None."""
        found = await self._find(self._prefix + name)
        if isinstance(found, BlobRef):
            await self.durable()  # what is held cannot be read yet
            return await read_patiently(self._runtime, self._run, found)
        return found

    async def _find(self, memo_id: str) -> bytes | BlobRef | None:
        if self._is_doubtful:
            self._known.clear()
            await self.load()
            self._known |= {put.key.id: _memo_in(put) for put in self._held if put.key.kind == MEMO}
            self._is_doubtful = False
        if self._runtime.is_cold and memo_id not in {put.key.id for put in self._held}:
            await self.durable()
            read = functools.partial(self._runtime.store.read, self._scope, [self._key(memo_id)])
            record = (await self._runtime.patiently(read))[0]
            return None if record is None else _memo_in(record)
        return self._known.get(memo_id)

    def is_known(self, name: str) -> bool:
        """Whether a step of this name has a memo already."""
        return self._prefix + name in self._known

    def keep(self, name: str, body: bytes) -> None:
        """Hold a new memo back until the handler suspends or a next body wants to start."""
        memo_id = self._prefix + name
        if len(body) > codec.PAYLOAD_BYTES_MAX:
            self._keep_large(memo_id, body)
            return
        self._known[memo_id] = body
        self._hold(len(body), Put(key=self._key(memo_id), body=body, expect=ABSENT))

    def _keep_large(self, memo_id: str, body: bytes) -> None:
        """Hold back a memo that is kept in chunks, and refers to them."""
        run = self._run_key
        ref, chunks = cut(run.tenant, run.user, memo_id, body, what=f"result of step {memo_id}")
        self._known[memo_id] = ref
        self._has_blobs = True
        memo = Put(key=self._key(memo_id), body=codec.encode(ref), expect=ABSENT, status=BLOB)
        self._hold(sum(len(chunk.body) for chunk in chunks), memo, *chunks)

    def _hold(self, size: int, *puts: Put) -> None:
        if self._held_bytes + size > HELD_BYTES_MAX:
            self._flush()
        self._held_bytes += size
        self._held += puts
        self._flush_in_time()

    async def put_blob(self, name: str, data: bytes) -> BlobRef:
        """Keep bytes of the run's under a name, durably, and give what stands for them. The same bytes under the same
        name are kept once."""
        run = self._run_key
        blob_id = f"{run.id}/data/{name}/{digest_of_bytes(data)}"
        ref, chunks = cut(run.tenant, run.user, blob_id, data, what=f"blob {name}")
        change = Change(
            change_id=self._runtime.change_id(), writes=chunks, requires=(Require(key=run, epoch=self.epoch),)
        )
        try:
            await self._runtime.commit(self._scope, change, is_patient=True)
        except Conflict as conflict:
            if conflict.facts.get("key") not in change.keys:
                raise
        return ref

    def note(self, row: Row, size: int) -> None:
        """Hold a journal row of `size` bytes back in the same way."""
        if self._held_bytes + size > HELD_BYTES_MAX:
            self._flush()
        self._held_bytes += size
        self._notes.append(row)
        self._flush_in_time()

    async def durable(self) -> None:
        """Until every memo kept so far is in the store. Raises the first refusal of one since the attempt began: Fenced
        where this process lost the run."""
        self._flush()
        await self.landed()

    async def landed(self) -> None:
        """Until every memo on its way is in the store; those held back stay so. Raises as `durable` does."""
        while self._flights:
            flight = next(iter(self._flights))  # nearly always the only one; `gather` would cost a turn of the loop
            await flight
            self._flights.discard(flight)
        if self._refusal is not None:  # of one that ended before anybody waited for it
            raise self._refusal

    def rest(self) -> None:
        """The handler returned: what is still held goes with its decision, in one commit."""
        if self._due_flush is not None:
            self._due_flush.cancel()
            self._due_flush = None

    def take_held(self) -> tuple[list[Put], list[Row]]:
        """What is still held, to be written with a decision or forgotten with the visit."""
        held, notes, self._held, self._notes, self._held_bytes = self._held, self._notes, [], [], 0
        return held, notes

    @property
    def _scope(self) -> Scope:
        return Scope.of_user(self._run_key.tenant, self._run_key.user)

    def _key(self, memo_id: str) -> Key:
        return Key(self._run_key.tenant, self._run_key.user, MEMO, memo_id)

    def _flush_in_time(self) -> None:
        if len(self._held) + len(self._notes) >= HELD_MAX:
            self._flush()
        elif self._due_flush is None:
            self._due_flush = asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self.rest()
        if self._held or self._notes:
            held, notes = self.take_held()
            flight = self._runtime.tasks.start(self._write(held, notes), name="memos")
            self._flights.add(flight)
            flight.add_done_callback(self._ended)

    def _ended(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        error = None if flight.cancelled() else flight.exception()
        if error is not None and self._refusal is None:
            self._refusal = error
        # What this flight carried may be in the store or not: the next who asks for a memo reads them all anew.
        self._is_doubtful = self._is_doubtful or flight.cancelled() or error is not None

    async def _write(self, held: list[Put], notes: list[Row]) -> None:
        faults.point("before-memo")
        change = Change(
            change_id=self._runtime.change_id(),
            writes=tuple(held),
            requires=(Require(key=self._run_key, epoch=self.epoch),),
            events=tuple(note_event(self._run_key, row) for row in notes),
        )
        await self._runtime.commit(self._scope, change, is_patient=True)
        faults.point("memo")


def _memo_in(record: Record | Put) -> bytes | BlobRef:
    """The memo in a record: the result, or what stands for it."""
    return codec.decode(record.body, BlobRef) if record.status == BLOB else record.body


def note_event(run_key: Key, row: Row) -> NewEvent:
    """A note as a journal row: it changes nothing of the run."""
    return NewEvent(key=run_key, name=row.name, body=codec.encode(row.facts(), what=row.name))


class Visit(NamedTuple):
    """A handler at work in one visit of one leaf; `name` is what `current_visit` says in it."""

    number: int
    name: str
    task: asyncio.Task[None]
    memos: Memos
