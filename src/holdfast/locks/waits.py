"""Who waits for whom, and whether it leads back to where it began: pure decisions over all trees of a tenant.

Between blocks that take all their locks at once there is no cycle, for they stand in every queue in the same order. One
needs a party that holds something and asks for more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from holdfast.locks.rules import LockTree, Ticket, blockers


class Wait(NamedTuple):
    """One ticket that waits behind another one. `lock` is what it waits for, "kind/name"."""

    waiting: Ticket
    behind: Ticket
    lock: str


def waits(trees: Iterable[LockTree], *, now: float) -> list[Wait]:
    """Every wait of these trees."""
    return [
        Wait(ticket, other, f"{tree.kind}/{ticket.name}")
        for tree in trees
        for ticket in tree.queue
        if not ticket.token and not ticket.is_lapsed(now)
        for other in blockers(tree, ticket, now=now)
    ]


def cycle(found: Sequence[Wait], holder: str) -> tuple[Wait, ...]:
    """The shortest way on which the ticket of `holder` waits for its own party; empty where there is none.

    A party that waits for another ticket of its own waits for itself only where that one is what the party is named
    after, a state's lock or the outermost block: any other may belong to a task beside it, which goes on and ends.
    """
    edges: dict[str, list[Wait]] = {}
    for wait in found:
        if wait.waiting.party != wait.behind.party or wait.behind.holder == wait.behind.party:
            edges.setdefault(wait.waiting.party, []).append(wait)
    ways: deque[tuple[Wait, ...]] = deque(
        (wait,) for some in edges.values() for wait in some if wait.waiting.holder == holder
    )
    seen: set[str] = set()
    while ways:
        way = ways.popleft()
        reached = way[-1].behind.party
        if reached == way[0].waiting.party:
            return way
        if reached not in seen:
            seen.add(reached)
            ways.extend((*way, wait) for wait in edges.get(reached, ()))
    return ()


def victim(way: Sequence[Wait]) -> Ticket:
    """The one ticket of a cycle that is to be refused, whoever looks: that of the block of code that asked last. A
    state that waits has nothing that it could give up, so there is always a block among them."""
    return max((wait.waiting for wait in way if wait.waiting.expires_at is not None), key=_asked)


def in_words(way: Sequence[Wait]) -> str:
    """The cycle as a sentence."""
    return "; ".join(
        f"{_named(wait.waiting)} waits for {wait.lock} behind {_named(wait.behind)}, who "
        f"{'holds' if wait.behind.token else 'waits for'} {wait.lock.partition('/')[0]}/{wait.behind.name}"
        for wait in way
    )


def _asked(ticket: Ticket) -> tuple[float, str]:
    return ticket.since, ticket.holder


def _named(ticket: Ticket) -> str:
    return f"{ticket.by} ({ticket.party})"
