"""Removing what nobody needs any more, in small changes beside the engines that work. `retention` says what may go.

Each run goes in a change of its own that requires it, its ticket and the list of its forks to be as they were looked
at: whoever forks it, or starts another of its id, in that moment, wins.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence

from holdfast.errors import Conflict, Corrupt
from holdfast.logs import get_logger
from holdfast.store.contract.protocol import Store, StoreAdmin
from holdfast.store.contract.records import (
    ABSENT,
    SYSTEM_TENANT,
    Change,
    Key,
    Query,
    Record,
    RemovePrefix,
    Require,
    Scope,
)
from holdfast.store.rows.blobs import BLOB
from holdfast.store.rows.journal import kept_from
from holdfast.store.writing.outcome import commit_surely
from holdfast.workflow.decisions.chunks import signal_blob
from holdfast.workflow.decisions.signals import JUDGED, REFUSED
from holdfast.workflow.model.run import ENDED, NOTICE, PROCESS, RUN, SIGNAL, decode_run, decode_signal
from holdfast.workflow.upkeep.retention import KEEP_WHOLE, Kin, Removed, is_needed, kin_keys, removal

PAGE = 50
"""Runs, signals or notices that are looked at, and removed, together."""

log = get_logger("holdfast.retention")


class Remover:
    """Removes from `store` what is older than `before_s` (epoch seconds). `change_id` gives a new id each time."""

    def __init__(self, store: Store, *, before_s: float, change_id: Callable[[], str]) -> None:
        self._store = store
        self._before_s = before_s
        self._change_id = change_id

    async def pages(self) -> AsyncIterator[Removed]:
        """Remove page by page; what went with each. Again from the front while something goes: a run goes only after
        its forks."""
        is_over = False
        while not is_over:
            is_over = True
            async for records in self._old(Query(kind=RUN, statuses=ENDED)):
                runs = sum(await asyncio.gather(*(self._remove(record) for record in records)))
                is_over = is_over and runs == 0
                yield Removed(runs=runs)
        async for records in self._old(Query(kind=SIGNAL, statuses=JUDGED)):
            yield Removed(signals=sum(await asyncio.gather(*(self._forget(record) for record in records))))
        yield Removed(notices=await self._clear_notices())

    async def would_go(self, admin: StoreAdmin, *, keep_rows: int | None) -> Removed:
        """What a pass would remove at this moment, without removing anything. Reads the whole store."""
        runs: dict[str, Key] = {}
        counted = -1
        while len(runs) > counted:
            counted = len(runs)
            async for records in self._old(Query(kind=RUN, statuses=ENDED)):
                for record in records:
                    if (kin := await self._kin(record)) is not None and not is_needed(kin, runs):
                        runs[record.key.id] = record.key
        signals = 0
        async for records in self._old(Query(kind=SIGNAL, statuses=JUDGED)):
            signals += sum(
                record.key.id.partition("/")[0] not in runs and _may_be_forgotten(record) for record in records
            )
        orphans = [record async for record in self._orphans()]
        rows = await self._rows_going(admin, set(runs.values()), keep_rows or KEEP_WHOLE)
        return Removed(runs=len(runs), signals=signals, notices=len(orphans), rows=rows)

    async def _rows_going(self, admin: StoreAdmin, gone: set[Key], keep: int) -> int:
        rows = 0
        async with admin.snapshot() as view:
            async for history in view.histories():
                is_gone = history.row is None or history.key in gone
                rows += kept_from(history.events, before_s=self._before_s, keep=keep, is_gone=is_gone)
        return rows

    async def _old(self, query: Query) -> AsyncIterator[Sequence[Record]]:
        after: str | None = None
        due = Query(kind=query.kind, statuses=query.statuses, due_until=self._before_s, by_due=True)
        while True:
            page = await self._store.scan(Scope.system(), due, after=after, limit=PAGE)
            yield page.records
            if page.next is None:
                return
            after = page.next

    async def _kin(self, record: Record) -> Kin | None:
        """What hangs together with an ended run; None where it cannot be read."""
        try:
            run = decode_run(record.body)
            return Kin(*await self._store.read(Scope.of_tenant(run.tenant), kin_keys(run)))
        except Corrupt as error:  # one damaged record must not keep the others from going
            log.error("run cannot be removed", run=record.key.id, error=error.message)
            return None

    async def _remove(self, record: Record) -> bool:
        """Remove one ended run with all that is its own; whether it went."""
        kin = await self._kin(record)
        if kin is None or is_needed(kin):
            return False
        change = removal(decode_run(record.body), record.version, kin, change_id=self._change_id())
        return await self._commit(record.key.tenant, change)

    async def _forget(self, record: Record) -> bool:
        """Remove a signal that was judged long ago."""
        tenant, user, kind, id_ = record.key
        if not _may_be_forgotten(record):
            return False
        change = Change(
            change_id=self._change_id(),
            requires=(Require(key=record.key, version=record.version),),
            removes=(
                RemovePrefix(tenant=tenant, user=user, kind=kind, prefix=id_),
                RemovePrefix(tenant=tenant, user=user, kind=BLOB, prefix=signal_blob(record.key)),
            ),
        )
        return await self._commit(tenant, change)

    async def _clear_notices(self) -> int:
        """Remove the notices left for processes that are no more."""
        found = [record async for record in self._orphans()]
        count = 0
        for owner, records in itertools.groupby(found, key=lambda record: record.key.id.partition("/")[0]):
            change = Change(
                change_id=self._change_id(),
                requires=(Require(key=_process_key(owner), version=ABSENT),),
                removes=(RemovePrefix(tenant=SYSTEM_TENANT, user="", kind=NOTICE, prefix=f"{owner}/"),),
            )
            count += len(list(records)) if await self._commit(SYSTEM_TENANT, change) else 0
        return count

    async def _orphans(self) -> AsyncIterator[Record]:
        """The notices for processes that have no lease any more."""
        after: str | None = None
        while True:
            page = await self._store.scan(Scope.system(), Query(kind=NOTICE), after=after, limit=PAGE)
            owners = sorted({record.key.id.partition("/")[0] for record in page.records})
            leases = await self._store.read(Scope.system(), [_process_key(owner) for owner in owners])
            gone = {owner for owner, lease in zip(owners, leases, strict=True) if lease is None}
            for record in page.records:
                if record.key.id.partition("/")[0] in gone:
                    yield record
            if page.next is None:
                return
            after = page.next

    async def _commit(self, tenant: str, change: Change) -> bool:
        try:
            await commit_surely(self._store, Scope.of_tenant(tenant), change)
        except Conflict:
            return False  # somebody needs it after all, or removed it first
        return True


def _may_be_forgotten(record: Record) -> bool:
    """Whether nothing needs a judged signal. One that was taken with data in chunks stays: some version of its run
    refers to them."""
    try:
        return record.status == REFUSED or decode_signal(record.body).blob is None
    except Corrupt:
        return False


def _process_key(process_id: str) -> Key:
    return Key(SYSTEM_TENANT, "", PROCESS, process_id)
