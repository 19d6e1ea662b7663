"""One body at work, as whoever looks after it sees it."""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast.agents.call import AgentCall
from holdfast.agents.rules import Times
from holdfast.agents.stacks import Place, place_of_coroutine, place_of_thread


class Running:
    """A task, or the future of a thread, and how it goes. `place`: where the watchdog saw it block the loop;
    `bodies`: the coroutine, once it began; `is_overdue`: it blocked the loop for too long, and was fenced off by the
    watchdog."""

    def __init__(
        self, call: AgentCall, work: asyncio.Future[Any], bodies: list[Any] | None = None, *, blocked_at_start_s: float
    ) -> None:
        self.call = call
        self.work = work
        self.in_thread = bodies is None
        self.bodies = [] if bodies is None else bodies
        self._blocked_at_start_s = blocked_at_start_s
        self.is_blocking = False
        self.has_blocked = False
        self.is_overdue = False
        self.place = Place()
        self._waiter: asyncio.Future[None] | None = None

    def times(self, blocked_s: float) -> Times:
        """Its times; `blocked_s`: how long the loop was blocked, all in all. Who blocked it is given nothing back."""
        return self.call.times(0.0 if self.has_blocked else blocked_s - self._blocked_at_start_s)

    def look(self) -> Place:
        """Where it stands now; where it blocks the loop, as the watchdog saw it."""
        if self.is_blocking:
            return self.place
        if not self.in_thread:
            return place_of_coroutine(self.bodies[0]) if self.bodies else Place()
        return Place() if self.call.thread_id is None else place_of_thread(self.call.thread_id)

    async def rest(self, seconds: float) -> None:
        """Until it is done, somebody wakes us, or the time is over."""
        if self.work.done():
            return
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = loop.call_later(seconds, self.wake)
        self.work.add_done_callback(self.wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self.work.remove_done_callback(self.wake)
            self._waiter = None

    def wake(self, _: object = None) -> None:
        """Have whoever rests look again. In the loop."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __repr__(self) -> str:
        return f"Running({self.call.id}, in_thread={self.in_thread}, done={self.work.done()})"
