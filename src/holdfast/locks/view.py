"""Locks as operators see them: each name with who holds it and who waits, in order, and for whom."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec

from holdfast.locks.records import LOCK, decode_tree
from holdfast.locks.rules import LockTree, Mode, Ticket, blockers
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Query, Scope

PAGE = 500


class TicketView(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds or waits. Times are epoch seconds; `until`: when it lapses unless renewed, None for a run's, which
    lasts as long as the visit. `token` is 0 for one who waits; `behind`: the holders that must go first."""

    holder: str
    by: str
    mode: Mode
    since: float
    until: float | None
    token: int
    behind: tuple[str, ...] = ()


class LockView(msgspec.Struct, frozen=True, kw_only=True):
    """One lock that somebody holds or waits for; `lock` is "kind/name". Both lists are in the order of the line."""

    lock: str
    holders: tuple[TicketView, ...]
    waiters: tuple[TicketView, ...]


async def look_at_locks(store: Store, scope: Scope) -> AsyncGenerator[LockView, None]:
    """Every lock of `scope` that somebody holds or waits for, by kind and name within each tree. Reads only."""
    after: str | None = None
    while True:
        page = await store.scan(scope, Query(kind=LOCK, statuses=("held", "queued")), after=after, limit=PAGE)
        now = store.now_s()
        for record in page.records:
            for view in views_of(decode_tree(record), now=now):
                yield view
        if page.next is None:
            return
        after = page.next


def views_of(tree: LockTree, *, now: float) -> list[LockView]:
    """The locks of a tree. Tickets that have lapsed are not there any more, although nobody has dropped them yet."""
    alive = [ticket for ticket in tree.queue if not ticket.is_lapsed(now)]
    found = []
    for name in sorted({ticket.name for ticket in alive}):
        mine = [(ticket, _view(tree, ticket, now)) for ticket in alive if ticket.name == name]
        holders = tuple(view for ticket, view in mine if ticket.token)
        waiters = tuple(view for ticket, view in mine if not ticket.token)
        found.append(LockView(lock=f"{tree.kind}/{name}", holders=holders, waiters=waiters))
    return found


def _view(tree: LockTree, ticket: Ticket, now: float) -> TicketView:
    behind = () if ticket.token else tuple(other.holder for other in blockers(tree, ticket, now=now))
    return TicketView(
        holder=ticket.holder, by=ticket.by, mode=ticket.mode, since=ticket.since, until=ticket.expires_at,
        token=ticket.token, behind=behind,
    )  # fmt: skip
