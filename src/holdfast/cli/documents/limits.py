"""What `limits` prints: one shape for each limit, made from what is stored."""

from __future__ import annotations

import contextlib

import msgspec

from holdfast.cli.documents.runs import iso, iso_or_none
from holdfast.limits import LimitView, look_at_limits
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Scope

LISTED_MAX = 1000
"""How many limits are looked at; one for each user counts as many."""


class PlaceLine(msgspec.Struct, frozen=True, kw_only=True):
    """A place that is taken. `until` is null for a run's, which lasts as long as the attempt."""

    holder: str
    by: str
    since: str
    until: str | None


class WaiterLine(msgspec.Struct, frozen=True, kw_only=True):
    """Who waits in line."""

    holder: str
    by: str
    since: str
    priority: str


class LimitLine(msgspec.Struct, frozen=True, kw_only=True):
    """One limit, "name" or "name/user". `rule`: as it was last declared; `room`: how many may be granted now;
    `next_at`: when there is room next, null where somebody must give a place back first; `waiting`: how many wait, of
    whom `waiters` are the first."""

    limit: str
    rule: str
    room: int
    next_at: str | None
    waiting: int
    places: tuple[PlaceLine, ...]
    waiters: tuple[WaiterLine, ...]


async def limits_of(store: Store, scope: Scope, *, begins: str = "") -> list[LimitLine]:
    """The first limits of a scope whose names begin so."""
    found: list[LimitLine] = []
    async with contextlib.aclosing(look_at_limits(store, scope)) as views:
        async for view in views:
            found += [limit_line(view)] if view.limit.startswith(begins) else []
            if len(found) == LISTED_MAX:
                break
    return found


def limit_line(view: LimitView) -> LimitLine:
    """The line of a limit."""
    return LimitLine(
        limit=view.limit,
        rule=view.rule,
        room=view.room,
        next_at=iso_or_none(view.next_at),
        waiting=view.waiting,
        places=tuple(
            PlaceLine(holder=place.holder, by=place.by, since=iso(place.since), until=iso_or_none(place.until))
            for place in view.places
        ),
        waiters=tuple(
            WaiterLine(holder=one.holder, by=one.by, since=iso(one.since), priority=one.priority)
            for one in view.waiters
        ),
    )
