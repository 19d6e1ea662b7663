"""One batch, one transaction: lock and read what it depends on, judge it by the shared rules, write the judgement.

Who else inserts a row of the batch between our reading and our writing makes us do it all again: a row that is not
there cannot be locked. Everything else waits for the locks, which everybody takes in one order.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from holdfast import faults
from holdfast.clock import monotonic_s
from holdfast.errors import CommitUnknown, HoldfastError, Unavailable
from holdfast.store.contract.records import Change, Commit, Scope
from holdfast.store.contract.witness import CommitWitness
from holdfast.store.decisions.rules import Judgement, judge
from holdfast.store.postgres import generations, tables
from holdfast.store.postgres.connections import (
    Connection,
    Connections,
    committed,
    reach,
)
from holdfast.store.postgres.errors import EVERYTHING, is_payload_fault, is_race, translate
from holdfast.store.postgres.heads import Heads
from holdfast.store.postgres.schema import Schema
from holdfast.store.postgres.tables import Known
from holdfast.store.servers.clock import ServerTime
from holdfast.store.writing.committer import Batch, Outcome, Poison

RACES_MAX = 20
"""How often one batch may lose against others that insert its rows, before its senders are told to try again."""


class BatchWriter:
    """Commits batches for the one `Committer` of a process."""

    def __init__(
        self,
        connections: Connections,
        schema: Schema,
        time: ServerTime,
        *,
        slot: int,
        witness: CommitWitness | None,
        on_committed: Callable[[], Awaitable[None]],
    ) -> None:
        self._connections = connections
        self._schema = schema
        self._time = time
        self._slot = slot
        self._witness = witness
        self._on_committed = on_committed
        self.heads = Heads(heads_max=connections.address.heads_max)

    async def write(self, batch: Batch) -> Sequence[Outcome]:
        """An outcome per change of `batch`, whose scopes are all of one kind (see `parts`)."""
        changes = [entry.change for entry in batch]
        scopes = [Scope(*sender) for sender in dict.fromkeys(entry.sender for entry in batch)]
        await self._schema.ensure()
        if (known := self.heads.known(changes)) is not None:
            async with self._connections.server.passing():
                at_once = await self._at_once(changes, scopes, known)
            if at_once is not None:
                return at_once.answers
        for _ in range(RACES_MAX):
            async with self._connections.server.passing():
                judgement = await self._attempt(changes, scopes)
            if judgement is not None:
                return judgement.answers
        place = self._connections.address.shown
        raise Unavailable(f"{place}: lost {RACES_MAX} races for the rows of one batch; try again", place=place)

    async def _at_once(self, changes: Sequence[Change], scopes: Sequence[Scope], known: Known) -> Judgement | None:
        """What became of `changes`, judged by memory and written by one message; None where it must be read first."""
        judgement = judge(changes, known.rows, known.streams, at=self._time.now_s(), incarnation=known.incarnation)
        if not all(isinstance(answer, Commit) for answer in judgement.answers):
            return None
        text = tables.text_of(self._checked(changes, scopes, known, judgement))
        connection = await self._connections.acquire()
        is_done = False
        try:
            faults.point("store-before-commit")
            asked_at_s = monotonic_s()
            server_us = await self._connections.at_once(connection, "SELECT holdfast.commit_1($1)", text)
            is_done = True
            if server_us is not None:
                self._time.learn(server_us / 1_000_000, asked_at_s=asked_at_s, answered_at_s=monotonic_s())
        except asyncio.CancelledError:
            # The loop ends. It waits for us, who may be writing for others: see what became of it.
            server_us = 0 if await self._is_written(connection, judgement, known, scopes) else None
        except EVERYTHING as error:
            if not is_race(error):
                raise self._refusal(error) from error
            server_us = None
        finally:
            await self._let_go(connection, is_done=is_done)
        if server_us is None:
            self.heads.forget(known)
            return None
        committed(self._connections.address.shown)
        await self._was_committed(known, judgement)
        return judgement

    async def _is_written(
        self, connection: Connection, judgement: Judgement, known: Known, scopes: Sequence[Scope]
    ) -> bool:
        """Whether a statement that was cancelled has written all the same. Raises CommitUnknown where nothing tells."""
        place = self._connections.address.shown
        try:
            await connection.execute(self._connections.opening(scopes))  # once the server is done with the other
            now = await tables.digests(connection, judgement.rows)
        except (*EVERYTHING, asyncio.CancelledError) as error:
            raise CommitUnknown(f"{place}: a commit was cut off as its loop ended ({error!r})", place=place) from error
        if any(now.get(key) == row.record.digest for key, row in judgement.rows.items() if row.record is not None):
            return True
        if all(now.get(key) == known.digests.get(key) for key in judgement.rows):
            return False
        raise CommitUnknown(f"{place}: a commit was cut off as its loop ended; look it up", place=place)

    def _checked(
        self, changes: Sequence[Change], scopes: Sequence[Scope], known: Known, judgement: Judgement
    ) -> dict[str, Any]:
        """What to write, with what must still be so for it to be written."""
        role, listed = reach(scopes)
        checked = tables.document(changes, judgement, known)
        checked |= {"role": role, "scopes": msgspec.Raw(listed), "incarnation": known.incarnation}
        if locked := tables.held(known, judgement):
            checked["held"] = locked
        if known.streams:
            checked["counted"] = sorted((*stream, seq) for stream, seq in known.streams.items())
        if self._witness is not None and self._witness.must_raise():
            checked["raised"] = self._slot
        return checked

    async def _was_committed(self, known: Known, judgement: Judgement) -> None:
        self.heads.learn(known, judgement)
        if self._witness is not None:
            self._witness.written(judgement.rows, judgement.removed)
        with contextlib.suppress(asyncio.CancelledError):  # see `_let_go`
            await self._on_committed()

    async def _let_go(self, connection: Connection, *, is_done: bool) -> None:
        """Give a connection back. If the loop ends meanwhile, the pool does it without us: what was committed is told
        as committed, or it would be written again."""
        with contextlib.suppress(asyncio.CancelledError):
            await self._connections.release(connection, is_done=is_done)

    async def _attempt(self, changes: Sequence[Change], scopes: Sequence[Scope]) -> Judgement | None:
        """What became of `changes`; None where somebody else was quicker."""
        asked_at_s = monotonic_s()
        connection = await self._connections.begin(scopes)
        is_done = False
        try:
            async with asyncio.timeout(self._connections.address.answer_timeout_s):
                known, judgement = await self._judged(connection, changes, asked_at_s)
            faults.point("store-before-commit")
            try:
                await self._connections.commit(connection)
                is_done = True
            except asyncio.CancelledError:  # as in `_at_once`
                if not await self._is_written(connection, judgement, known, scopes):
                    return None
            committed(self._connections.address.shown)
        except EVERYTHING as error:
            if is_race(error):
                return None
            raise self._refusal(error) from error
        finally:
            await self._let_go(connection, is_done=is_done)
        await self._was_committed(known, judgement)
        return judgement

    async def _judged(
        self, connection: Connection, changes: Sequence[Change], asked_at_s: float
    ) -> tuple[Known, Judgement]:
        """What `changes` were judged against and the judgement, written and not committed yet."""
        known = await tables.load(connection, changes)
        self._time.learn(known.server_s, asked_at_s=asked_at_s, answered_at_s=monotonic_s())
        at = self._time.now_s() if self._time.is_given else known.server_s
        judgement = judge(changes, known.rows, known.streams, at=at, incarnation=known.incarnation)
        await tables.store(connection, changes, judgement, known)
        if self._witness is not None and self._witness.must_raise():
            await generations.raise_slot(connection, self._slot)
        return known, judgement

    def _refusal(self, error: BaseException) -> BaseException:
        refusal: HoldfastError = translate(error, self._connections.address.shown)
        refusal.__cause__ = error
        return Poison(refusal) if is_payload_fault(error) else refusal


def parts(batch: Batch) -> list[Batch]:
    """`batch` cut where users' changes and the system's meet: they go under different roles, in their order."""
    groups = itertools.groupby(batch, key=lambda entry: entry.sender[0] is None)
    return [list(entries) for _, entries in groups]
