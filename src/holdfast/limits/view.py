"""Limits as operators see them: who has a place since when, who waits, how many tokens are left and when more come."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec

from holdfast.limits.records import LIMIT, WAITER, decode_ledger, decode_waiter, line_prefix
from holdfast.limits.rules import declared_as, next_at, room
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Query, Record, Scope

PAGE = 500
WAITERS_MAX = 100
"""How many of those who wait are shown of each limit: the first in line."""


class PlaceView(msgspec.Struct, frozen=True, kw_only=True):
    """Who has a place. Times are epoch seconds; `until`: when it lapses unless renewed, None for a run's, which lasts
    as long as the attempt."""

    holder: str
    by: str
    since: float
    until: float | None


class WaiterView(msgspec.Struct, frozen=True, kw_only=True):
    """Who waits in line, since when."""

    holder: str
    by: str
    since: float
    priority: str


class LimitView(msgspec.Struct, frozen=True, kw_only=True):
    """One limit; with `per=user` one for each user, named "limit/user". `rule`: the declaration by which it was last
    written. `room`: how many may be granted now; `next_at`: when there is room next, None where somebody must give a
    place back first. `waiting`: how many wait, of whom `waiters` are the first."""

    limit: str
    rule: str
    places: tuple[PlaceView, ...]
    room: int
    next_at: float | None
    waiting: int
    waiters: tuple[WaiterView, ...]


async def look_at_limits(store: Store, scope: Scope) -> AsyncGenerator[LimitView, None]:
    """Every limit of `scope` that was ever used, by name. Reads only."""
    after: str | None = None
    while True:
        page = await store.scan(scope, Query(kind=LIMIT), after=after, limit=PAGE)
        for record in page.records:
            yield await _view(store, record)
        if page.next is None:
            return
        after = page.next


async def _view(store: Store, record: Record) -> LimitView:
    slot, tenant = record.key.id, record.key.tenant
    ledger, now = decode_ledger(slot, record), store.now_s()
    limit = declared_as(slot.partition("/")[0], ledger.rule)
    waiters: tuple[WaiterView, ...] = ()
    if ledger.waiting:
        query = Query(kind=WAITER, prefix=line_prefix(slot), by_due=True)
        page = await store.scan(Scope.of_tenant(tenant), query, limit=WAITERS_MAX)
        found = [(each.key.user, decode_waiter(each)) for each in page.records]
        waiters = tuple(
            WaiterView(holder=one.holder, by=user, since=one.since, priority=one.priority) for user, one in found
        )
    return LimitView(
        limit=slot,
        rule=ledger.rule,
        places=tuple(
            PlaceView(holder=place.holder, by=place.by, since=place.since, until=place.expires_at)
            for place in ledger.live(now)
        ),
        room=0 if limit is None else room(limit, ledger, now=now),
        next_at=None if limit is None else next_at(limit, ledger, now=now),
        waiting=ledger.waiting,
        waiters=waiters,
    )
