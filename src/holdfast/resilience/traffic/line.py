"""Who has a place and who is next: the bulkhead without a loop. It is told the time, and says who goes. Pure.

Classes of load share by weight (stride scheduling): each class has a time of its own which runs the slower the more it
weighs, and whoever is furthest behind is next. In a class users take turns (start-time fair queueing): each next call
of one user stands one turn later, so a flood stands behind itself. Equals go first come, first served.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from holdfast.resilience.healing import Class
from holdfast.resilience.traffic.rules import WEIGHTS, share_of


class Ticket:
    """One caller. `state`: "waiting", "placed" or "gone"."""

    __slots__ = ("expires_at", "load", "state", "turn", "user")

    def __init__(self, user: str, load: Class, expires_at: float | None) -> None:
        self.user = user
        self.load = load
        self.expires_at = expires_at
        self.state = "waiting"
        self.turn: tuple[int, int] = (0, 0)


class _Queue:
    """Those of one class that wait. `time` is its own: what it got so far, by weight."""

    def __init__(self) -> None:
        self.users: dict[str, deque[Ticket]] = {}
        self.waiting = 0
        self.turn = 0
        self.time = 0.0


class Line:
    """Places, and a queue in front of them. `users_share`: of all places, and of a queue, that one user may have."""

    def __init__(self, places: int, queue_max: int, users_share: float, weights: Mapping[Class, int] = WEIGHTS) -> None:
        self.places = places
        self.taken = 0
        self._queue_max = queue_max
        self._share = users_share
        self._weights = weights
        self._by_user: dict[str, int] = {}
        self._queues: dict[Class, _Queue] = {load: _Queue() for load in weights}
        self._asked = 0
        self._time = 0.0

    @property
    def waiting(self) -> int:
        return sum(queue.waiting for queue in self._queues.values())

    def take(self, user: str) -> bool:
        """A place at once, if there is one. Nobody is passed: while places are free, nobody waits who may have one."""
        if self.taken >= self.places:
            return False
        if user:
            held = self._by_user.get(user, 0)
            if held >= share_of(self.places, self._share):
                return False
            self._by_user[user] = held + 1
        self.taken += 1
        return True

    def why_full(self, user: str, load: Class) -> str:
        """Why a call of that class may not wait either: "queue", "user"; "" where it may."""
        queue = self._queues[load]
        if queue.waiting >= self._queue_max:
            return "queue"
        if user and len(queue.users.get(user, ())) >= share_of(self._queue_max, self._share):
            return "user"
        return ""

    def wait(self, ticket: Ticket) -> None:
        """Stand in line. The caller has asked `why_full`."""
        queue = self._queues[ticket.load]
        if not queue.waiting:
            queue.time = max(queue.time, self._time)  # nobody saves up while there is nothing to do
        own = queue.users.setdefault(ticket.user, deque())
        self._asked += 1
        behind_himself = own[-1].turn[0] if own and ticket.user else 0
        ticket.turn = (max(queue.turn, behind_himself) + 1, self._asked)
        own.append(ticket)
        queue.waiting += 1

    def leave(self, ticket: Ticket) -> None:
        """Give up waiting."""
        assert ticket.state == "waiting"
        self._remove(ticket)

    def give_back(self, user: str) -> None:
        """One place is free again."""
        assert self.taken > 0, "a place was given back twice"
        self.taken -= 1
        if user:
            left = self._by_user[user] - 1
            if left:
                self._by_user[user] = left
            else:
                del self._by_user[user]

    def next(self, now: float) -> Iterator[Ticket]:
        """Those whose wait is over: placed, or gone because their time ran out first."""
        while self.taken < self.places and (ticket := self._first()) is not None:
            queue = self._queues[ticket.load]
            self._remove(ticket)
            if ticket.expires_at is None or now < ticket.expires_at:
                has_place = self.take(ticket.user)
                assert has_place
                ticket.state = "placed"
                queue.turn = max(queue.turn, ticket.turn[0])
                self._time = queue.time
                queue.time += 1 / self._weights[ticket.load]
            yield ticket

    def _first(self) -> Ticket | None:
        """Whoever is next of those who may have a place."""
        found = [(queue.time, ticket) for queue in self._queues.values() if (ticket := self._first_of(queue))]
        return min(found, key=lambda each: each[0])[1] if found else None  # of equals the class named first

    def _first_of(self, queue: _Queue) -> Ticket | None:
        most = share_of(self.places, self._share)
        heads = [own[0] for user, own in queue.users.items() if not user or self._by_user.get(user, 0) < most]
        return min(heads, key=lambda ticket: ticket.turn, default=None)

    def _remove(self, ticket: Ticket) -> None:
        queue = self._queues[ticket.load]
        own = queue.users[ticket.user]
        own.remove(ticket)
        if not own:
            del queue.users[ticket.user]
        queue.waiting -= 1
        ticket.state = "gone"
