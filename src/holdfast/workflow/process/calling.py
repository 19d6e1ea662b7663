"""Whose turn it is: the runs that stand in line for a place under a limit, as soon as there is room for them.

A ledger whose line is not empty is due when there is room next, so nothing is looked at in between. Who is called asks
for himself, in the commit that begins his handler: a call is only a hint, and two processes may both give it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from holdfast.limits import LIMIT, WAITER, Limit, line_prefix, next_at, room
from holdfast.limits.records import QUEUED, decode_ledger, decode_waiter
from holdfast.store.contract.records import Key, Query, Record, Scope
from holdfast.workflow.model.run import ENDED, Run
from holdfast.workflow.process.runtime import Runtime, Stored, run_key

LEDGERS_MAX = 500
CALLED_MAX = 200
"""Bounds on the ledgers that one look goes over, and on the runs that it calls for each."""
DEALT_MAX = 10_000
"""Turns that are remembered, so that none is dealt out twice."""
SPARE = 16
"""How many more of a line are read than there is room for: some may be gone."""


class Calls(NamedTuple):
    """The runs whose turn it is, in the order of their lines: those that nobody owns, and those that somebody works on.
    `again_at`: when there is room in another line."""

    unowned: tuple[Key, ...] = ()
    at_work: tuple[str, ...] = ()
    again_at: float | None = None


class Dealt:
    """The turns that were dealt out by this process, of which each is told once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], None] = {}

    async def new(self, runtime: Runtime, calls: Calls) -> list[Run]:
        """The runs that nobody owns and that were not yet told of since they came to stand where they stand."""
        found = []
        for stored in await unowned_runs(runtime, calls):
            mark = (stored.run.id, stored.version)
            if mark not in self._known:
                self._known[mark] = None
                found.append(stored.run)
        while len(self._known) > DEALT_MAX:
            del self._known[next(iter(self._known))]
        return found


async def unowned_runs(runtime: Runtime, calls: Calls) -> list[Stored]:
    """Those of the called runs that nobody owns, as they stand now."""
    records = await runtime.store.read(Scope.system(), calls.unowned) if calls.unowned else []
    return [Stored.of(record) for record in records if record is not None and not record.owner]


async def called(runtime: Runtime, queues: tuple[str, ...], *, everywhere: bool = False) -> Calls:
    """Whose turn it is of the runs of `queues`. `everywhere`: also in lines that wait for somebody to
    give back, for the code may have changed under them."""
    if not runtime.placer.limits and not everywhere:
        return Calls()
    unowned: list[Key] = []
    at_work: list[str] = []
    query = Query(kind=LIMIT, statuses=(QUEUED,), by_due=not everywhere)
    page = await runtime.store.scan(Scope.system(), query, limit=LEDGERS_MAX)
    again_at: float | None = None
    for record in page.records:
        ledger, now = decode_ledger(record.key.id, record), runtime.store.now_s()
        limit = runtime.placer.limits.get(record.key.id.partition("/")[0])
        free = CALLED_MAX if limit is None else room(limit, ledger, now=now)
        if free:
            for run in await _first(runtime, record, queues, min(free, CALLED_MAX)):
                if run.owner:
                    at_work.append(run.key.id)
                else:
                    unowned.append(run.key)
        if limit is not None and (at := _later(limit, record, now)) is not None:
            again_at = min(at, again_at or at)
    return Calls(tuple(unowned), tuple(at_work), again_at)


def _later(limit: Limit, record: Record, now: float) -> float | None:
    """When there is room in a line that has none now."""
    at = next_at(limit, decode_ledger(record.key.id, record), now=now)
    return at if at is not None and at > now else None


async def _first(runtime: Runtime, ledger: Record, queues: tuple[str, ...], count: int) -> Sequence[Record]:
    """The records of the first `count` runs in the line of a ledger that have not ended."""
    query = Query(kind=WAITER, prefix=line_prefix(ledger.key.id), queues=queues, by_due=True)
    scope = Scope.of_tenant(ledger.key.tenant)
    page = await runtime.store.scan(scope, query, limit=count + SPARE)
    keys = [run_key(each.key.tenant, each.key.user, decode_waiter(each).run) for each in page.records]
    found = [record for record in await runtime.store.read(scope, keys) if record is not None]
    return [record for record in found if record.status not in ENDED][:count]
