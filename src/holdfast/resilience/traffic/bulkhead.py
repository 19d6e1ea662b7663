"""A bound on how many calls are under way at once, and on how many wait for a place.

A lock guards the line while it is asked, never while anybody waits or runs; whoever waits is woken in the loop in which
he waits, so one bulkhead serves any number of loops and threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from holdfast.clock import monotonic_s
from holdfast.errors import BulkheadFull, DeadlineExceeded, InvalidInput
from holdfast.resilience.healing import Class
from holdfast.resilience.traffic.deadline import Deadline
from holdfast.resilience.traffic.line import Line, Ticket
from holdfast.resilience.traffic.rules import WEIGHTS


class BulkheadView(NamedTuple):
    """A bulkhead at one moment. `refused`: calls that found it full, `dropped`: those whose time ran out in line."""

    name: str
    places: int
    taken: int
    waiting: int
    refused: int
    dropped: int


class _Waiter(Ticket):
    __slots__ = ("future", "loop")

    def __init__(self, user: str, load: Class, expires_at: float | None) -> None:
        super().__init__(user, load, expires_at)
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()


class Bulkhead:
    """So many places, and a queue of at most `queue_max` for each class of load.

    A user who is named has at most `users_share` of the places and of a queue, so that a flood of his leaves room for
    others; where no user is named there is no such bound. Nobody waits longer than `wait_max_s` seconds.

    Example::

        bulkhead = Bulkhead("model", places=8)
        async with bulkhead.place(user="ana", deadline=Deadline(5.0)):
            answer = await ask()
    """

    def __init__(
        self,
        name: str,
        *,
        places: int,
        queue_max: int = 100,
        users_share: float = 0.5,
        wait_max_s: float = 60.0,
        clock: Callable[[], float] = monotonic_s,
    ) -> None:
        if places < 1:
            raise InvalidInput(f"bulkhead {name}: expected 1 or more places, saw {places!r}")
        if queue_max < 0:
            raise InvalidInput(f"bulkhead {name}: expected queue_max 0 (nobody waits) or more, saw {queue_max!r}")
        if not 0 < users_share <= 1:
            raise InvalidInput(f"bulkhead {name}: expected users_share above 0 and at most 1, saw {users_share!r}")
        if not 0 < wait_max_s < float("inf"):
            raise InvalidInput(f"bulkhead {name}: expected wait_max_s above 0, saw {wait_max_s!r}")
        self.name = name
        self._wait_max_s = wait_max_s
        self._clock = clock
        self._lock = threading.Lock()
        self._line = Line(places, queue_max, users_share)
        self._refused = 0
        self._dropped = 0

    @asynccontextmanager
    async def place(
        self, *, user: str = "", load: Class = "people", deadline: Deadline | None = None
    ) -> AsyncIterator[None]:
        """A place for the block. Raises BulkheadFull, or DeadlineExceeded where the wait is too long for its caller."""
        await self.enter(user, load, deadline)
        try:
            yield
        finally:
            self.exit(user)

    async def enter(self, user: str = "", load: Class = "people", deadline: Deadline | None = None) -> None:
        """A place, to be given back by one `exit` with the same user, whatever comes of the call."""
        if load not in WEIGHTS:
            raise InvalidInput(f"bulkhead {self.name}: expected a load of {', '.join(WEIGHTS)}, saw {load!r}")
        if deadline is not None:
            deadline.check(f"a place of bulkhead {self.name}")
        with self._lock:
            if self._line.take(user):
                return
            waiter = self._stand_in_line(user, load, deadline)
        await self._wait(waiter, deadline)

    def exit(self, user: str = "") -> None:
        """Give back what `enter` gave."""
        with self._lock:
            self._line.give_back(user)
            if self._line.waiting:
                self._call_up()

    def resize(self, places: int) -> None:
        """Have so many places from now on. Whoever has one keeps it; fewer take effect as they are given back."""
        if places < 1:
            raise InvalidInput(f"bulkhead {self.name}: expected 1 or more places, saw {places!r}")
        with self._lock:
            self._line.places = places
            self._call_up()

    def look(self) -> BulkheadView:
        """The bulkhead now."""
        with self._lock:
            line = self._line
            return BulkheadView(self.name, line.places, line.taken, line.waiting, self._refused, self._dropped)

    def __repr__(self) -> str:
        view = self.look()
        return f"Bulkhead({self.name!r}, {view.taken} of {view.places} taken, {view.waiting} waiting)"

    def _stand_in_line(self, user: str, load: Class, deadline: Deadline | None) -> _Waiter:
        line = self._line
        if why := line.why_full(user, load):
            self._refused += 1
            whose = f"user {user} has his share of its queue" if why == "user" else f"so is its queue for {load}"
            raise BulkheadFull(
                f"bulkhead {self.name} is full: {line.taken} of {line.places} places are taken and {whose}; "
                "send less, come again later, or give it more places",
                bulkhead=self.name,
                reason=why,
                places=line.places,
                waiting=line.waiting,
            )
        expires_at = self._clock() + self._wait_max_s
        if deadline is not None:
            expires_at = min(expires_at, self._clock() + deadline.left_s)
        waiter = _Waiter(user, load, expires_at)
        line.wait(waiter)
        return waiter

    async def _wait(self, waiter: _Waiter, deadline: Deadline | None) -> None:
        """Until there is a place. Whatever else ends it, the place or the place in line is given back."""
        assert waiter.expires_at is not None
        try:
            async with asyncio.timeout(waiter.expires_at - self._clock()):
                await waiter.future
        except BaseException as error:
            with self._lock:
                if waiter.state == "placed":
                    self._line.give_back(waiter.user)
                    self._call_up()
                elif waiter.state == "waiting":
                    self._line.leave(waiter)
                    self._call_up()
            if isinstance(error, TimeoutError):
                raise self._too_late(deadline) from error
            raise
        if waiter.state == "gone":
            raise self._too_late(deadline)

    def _too_late(self, deadline: Deadline | None) -> BulkheadFull | DeadlineExceeded:
        with self._lock:
            self._dropped += 1
        if deadline is not None and deadline.left_s < self._wait_max_s:
            what = f"a place of bulkhead {self.name}"
            return DeadlineExceeded(f"{what}: none was free before the deadline; nothing was called", what=what)
        return BulkheadFull(
            f"bulkhead {self.name}: no place within {self._wait_max_s:g} s; send less, or give it more places",
            bulkhead=self.name,
            reason="waited",
        )

    def _call_up(self) -> None:
        """Wake those whose wait is over. Under the lock."""
        is_anybody_away = True
        while is_anybody_away:
            is_anybody_away = False
            for ticket in self._line.next(self._clock()):
                assert isinstance(ticket, _Waiter)
                try:
                    ticket.loop.call_soon_threadsafe(_wake, ticket.future)
                except RuntimeError:  # his loop was closed while he waited: nobody is there to use the place
                    if ticket.state == "placed":
                        self._line.give_back(ticket.user)
                        ticket.state, is_anybody_away = "gone", True


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
