"""Who holds a lock and who waits: pure decisions over one lock's state.

First come, first served. The fencing token is the epoch of the lock's record and only grows: it rises whenever the
holder changes, and when a holder asks again after a recovery. Lapsed tickets are dropped before anything is decided.
"""

from __future__ import annotations

import msgspec

from holdfast.context import check_id
from holdfast.errors import InvalidInput


class Ticket(msgspec.Struct, frozen=True):
    """One place in the queue. `holder` is unique for what asks (a run's visit, or one `acquire` call).

    `expires_at`: epoch seconds, None for a run's ticket: it lasts as long as the visit, which its transition ends.
    """

    holder: str
    by: str
    since: float
    expires_at: float | None = None


class LockState(msgspec.Struct, frozen=True):
    """A lock as it is stored: the queue, its first ticket being the holder."""

    kind: str
    name: str
    queue: tuple[Ticket, ...] = ()

    @property
    def holder(self) -> Ticket | None:
        return self.queue[0] if self.queue else None

    def ticket_of(self, holder: str) -> Ticket | None:
        """The ticket of one who holds or waits."""
        return next((ticket for ticket in self.queue if ticket.holder == holder), None)


class Verdict(msgspec.Struct, frozen=True):
    """The lock after a decision. `is_new_holder`: the token must rise in the same write. `is_same`: write nothing."""

    lock: LockState
    is_new_holder: bool
    is_same: bool = False


def check_lock(kind: object, name: object) -> None:
    """Raises InvalidInput for what cannot name a lock: two ids, the kind without "/", which ends it in keys."""
    for what, part in (("lock kind", kind), ("lock name", name)):
        try:
            check_id(what, part).encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(f"{what}: expected text that UTF-8 can encode, saw {part!r:.60}") from error
    if "/" in str(kind):
        raise InvalidInput(f'lock kind: expected no "/", saw {kind!r}; the name may have them')


class Standing(msgspec.Struct, frozen=True):
    """Where somebody stands in the line. `must_ask`: a ticket is to be written, as none is there, or those before it
    have all lapsed, and only who asks drops them. `look_at`: when the first in line lapses unless it renews."""

    is_first: bool
    must_ask: bool = False
    look_at: float | None = None


def standing(lock: LockState, holder: str, *, now: float) -> Standing:
    """Where `holder` stands now."""
    if is_held_by(lock, holder, now=now):
        return Standing(is_first=True)
    alive = _alive(lock, now)
    if not any(ticket.holder == holder for ticket in alive) or alive[0].holder == holder:
        return Standing(is_first=False, must_ask=True)
    return Standing(is_first=False, look_at=alive[0].expires_at)


def ask(lock: LockState, ticket: Ticket, *, now: float, anew: bool = False) -> Verdict:
    """Queue a ticket, or keep its place if it stands there already. `anew`: a holder that wants a new token."""
    before = lock.holder
    queue = _alive(lock, now, but=ticket.holder)
    place = next((i for i, waiting in enumerate(queue) if waiting.holder == ticket.holder), None)
    if place is None:
        queue = (*queue, ticket)
    else:
        renewed = msgspec.structs.replace(queue[place], expires_at=ticket.expires_at)
        queue = (*queue[:place], renewed, *queue[place + 1 :])
    return _verdict(lock, queue, before, is_forced=anew and queue[0].holder == ticket.holder)


def release(lock: LockState, holder: str, *, now: float) -> Verdict:
    """Give a ticket back, whether it holds or waits; the next one in line becomes the holder."""
    before = lock.holder
    queue = tuple(ticket for ticket in _alive(lock, now) if ticket.holder != holder)
    return _verdict(lock, queue, before)


def is_held_by(lock: LockState, holder: str, *, now: float) -> bool:
    """Whether `holder` stands first and has not lapsed."""
    first = lock.holder
    return first is not None and first.holder == holder and not _is_lapsed(first, now)


def _alive(lock: LockState, now: float, *, but: str = "") -> tuple[Ticket, ...]:
    return tuple(ticket for ticket in lock.queue if ticket.holder == but or not _is_lapsed(ticket, now))


def _is_lapsed(ticket: Ticket, now: float) -> bool:
    return ticket.expires_at is not None and ticket.expires_at <= now


def _verdict(lock: LockState, queue: tuple[Ticket, ...], before: Ticket | None, *, is_forced: bool = False) -> Verdict:
    after = LockState(lock.kind, lock.name, queue)
    first = after.holder
    is_new = first is not None and (before is None or first.holder != before.holder or is_forced)
    return Verdict(after, is_new, is_same=after == lock and not is_new)
