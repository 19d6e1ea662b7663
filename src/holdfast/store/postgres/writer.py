"""One batch, one transaction: lock and read what it depends on, judge it by the shared rules, write the judgement.

Who else inserts a row of the batch between our reading and our writing makes us do it all again: a row that is not
there cannot be locked. Everything else waits for the locks, which everybody takes in one order.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence

from holdfast import faults
from holdfast.clock import monotonic_s
from holdfast.errors import HoldfastError, Unavailable
from holdfast.store.committer import Batch, Outcome, Poison
from holdfast.store.postgres import generations, tables
from holdfast.store.postgres.connections import ANSWER_TIMEOUT_S, Connection, Connections, committed, opening
from holdfast.store.postgres.errors import EVERYTHING, is_payload_fault, is_race, translate
from holdfast.store.postgres.schema import Schema
from holdfast.store.records import Change, Scope
from holdfast.store.rules import Judgement, judge
from holdfast.store.server_time import ServerTime
from holdfast.store.witness import CommitWitness

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

    async def write(self, batch: Batch) -> Sequence[Outcome]:
        """An outcome per change of `batch`, whose scopes are all of one kind (see `parts`)."""
        changes = [entry.change for entry in batch]
        scopes = [Scope(*sender) for sender in dict.fromkeys(entry.sender for entry in batch)]
        await self._schema.ensure()
        for _ in range(RACES_MAX):
            judgement = await self._attempt(changes, scopes)
            if judgement is not None:
                return judgement.answers
        place = self._connections.address.shown
        raise Unavailable(f"{place}: lost {RACES_MAX} races for the rows of one batch; try again", place=place)

    async def _attempt(self, changes: Sequence[Change], scopes: Sequence[Scope]) -> Judgement | None:
        """What became of `changes`; None where somebody else was quicker."""
        connection = await self._connections.acquire()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                judgement = await self._judged(connection, changes, scopes)
            if judgement is None:
                return None
            faults.point("store-before-commit")
            await self._connections.commit(connection)
            committed(self._connections.address.shown)
        except EVERYTHING as error:
            if is_race(error):
                return None
            raise self._refusal(error) from error
        finally:
            await self._connections.release(connection)
        if self._witness is not None:
            self._witness.written(judgement.rows, judgement.removed)
        await self._on_committed()
        return judgement

    async def _judged(
        self, connection: Connection, changes: Sequence[Change], scopes: Sequence[Scope]
    ) -> Judgement | None:
        """The judgement of `changes`, written and not committed yet."""
        asked_at_s = monotonic_s()
        await connection.execute(opening(scopes))
        known = await tables.load(connection, changes)
        self._time.learn(known.server_s, asked_at_s=asked_at_s, answered_at_s=monotonic_s())
        at = self._time.now_s() if self._time.is_given else known.server_s
        if not await tables.hold_absent(connection, changes, known):
            return None
        judgement = judge(changes, known.rows, known.streams, at=at, incarnation=known.incarnation)
        if not await tables.store(connection, judgement, known):
            return None
        if self._witness is not None and self._witness.must_raise():
            await generations.raise_slot(connection, self._slot)
        return judgement

    def _refusal(self, error: BaseException) -> BaseException:
        refusal: HoldfastError = translate(error, self._connections.address.shown)
        refusal.__cause__ = error
        return Poison(refusal) if is_payload_fault(error) else refusal


def parts(batch: Batch) -> list[Batch]:
    """`batch` cut where users' changes and the system's meet: they go under different roles, in their order."""
    groups = itertools.groupby(batch, key=lambda entry: entry.sender[0] is None)
    return [list(entries) for _, entries in groups]
