"""Who runs now and who waits: so many calls of each user at once, and so many of all, users taking turns.

Two bulkheads behind each other. The first is the user's own and holds his excess back; the second is everybody's, and
serves users in turns (start-time fair queueing). As no user has more than his own places in the second line, a flood
delays another by at most those.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from holdfast.resilience.traffic import Bulkhead, Deadline
from holdfast.users.rules import UserKey

USERS_IN_LINE_MAX = 10_000
"""Bound on the line in front of everybody's places, in users of one place."""


class Seats:
    """Places for all users' calls. `own` makes the bulkhead of one user."""

    def __init__(self, *, places: int, places_per_user: int, queue_per_user_max: int, wait_max_s: float) -> None:
        self.places_per_user = places_per_user
        self._queue_per_user_max = queue_per_user_max
        self._wait_max_s = wait_max_s
        self.all = Bulkhead(
            "calls of all users",
            places=places,
            queue_max=USERS_IN_LINE_MAX * places_per_user,
            users_share=1.0,
            wait_max_s=wait_max_s,
        )

    def own(self, key: UserKey) -> Bulkhead:
        """A user's own: `places_per_user` at once."""
        return Bulkhead(
            f"calls of {key[1]}",
            places=self.places_per_user,
            queue_max=self._queue_per_user_max,
            users_share=1.0,
            wait_max_s=self._wait_max_s,
        )

    @asynccontextmanager
    async def seat(self, own: Bulkhead, key: UserKey, deadline: Deadline | None) -> AsyncIterator[None]:
        """A place for a call of that user. Raises BulkheadFull, or DeadlineExceeded where the wait is too long."""
        async with own.place(deadline=deadline), self.all.place(user="/".join(key), deadline=deadline):
            yield
