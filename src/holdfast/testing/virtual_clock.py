"""Time that passes only when a test says so, and gates at which a handler waits for the test."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import Counter
from contextvars import ContextVar

from holdfast.errors import InvalidInput
from holdfast.workflow.process.runtime import current_visit

START_S = 1_767_225_600.0
"""2026-01-01 00:00 UTC: where virtual time begins unless said otherwise."""

is_in_store: ContextVar[bool] = ContextVar("is_in_store", default=False)
"""Whether the running code belongs to a call of a watched store: a delay on the virtual clock is planted there."""


class VirtualClock:
    """A `Clock` that stands still until `advance_to` is called. For one loop; whoever sleeps on it holds a future.

    Example: `clock = VirtualClock()`, then `Lab(wf, clock=clock, store=FaultyStore(MemoryStore(clock=clock)))`.
    """

    def __init__(self, start_s: float = START_S) -> None:
        self._now_s = start_s
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._asleep: Counter[str] = Counter()
        self.asleep_in_store = 0

    def time_s(self) -> float:
        return self._now_s

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_s + seconds, next(self._numbers), future))
        await self.rest(future)

    @property
    def next_due_s(self) -> float | None:
        """When the next sleeper wakes (epoch seconds), or None."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def advance_to(self, now_s: float) -> None:
        """Let it be `now_s` (epoch seconds), and wake whoever slept until then, in order. Time never goes back."""
        if now_s < self._now_s:
            raise InvalidInput(f"virtual clock: expected a time from {self._now_s} on, saw {now_s}")
        self._now_s = now_s
        while (due := self.next_due_s) is not None and due <= now_s:
            heapq.heappop(self._sleepers)[2].set_result(None)

    async def rest(self, future: asyncio.Future[None]) -> None:
        """Wait for `future`, counted as asleep meanwhile: only the test can end it."""
        visit, in_store = current_visit.get(), is_in_store.get()
        self._asleep[visit] += 1
        self.asleep_in_store += in_store
        try:
            await future
        finally:
            self._asleep[visit] -= 1
            self.asleep_in_store -= in_store

    def has_asleep(self, visit: str) -> bool:
        """Whether some code of this visit's handler is asleep."""
        return self._asleep[visit] > 0

    def __repr__(self) -> str:
        return f"VirtualClock({self._now_s:.3f}, sleepers={len(self._sleepers)})"


class Gate:
    """A place at which handlers wait until the test lets them on; the lab takes them as settled there.

    Example: `await gate.wait()` in a handler or step, `gate.open()` in the test. Once open, it stays open.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._waiting: list[asyncio.Future[None]] = []
        self.is_open = False
        self.passed = 0

    async def wait(self) -> None:
        """Until the gate is open."""
        if not self.is_open:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await self._clock.rest(future)
        self.passed += 1

    def open(self) -> None:
        """Let everybody on, now and later."""
        self.is_open = True
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    @property
    def waiting(self) -> int:
        """How many wait here now."""
        return sum(not future.done() for future in self._waiting)

    def __repr__(self) -> str:
        return f"Gate(open={self.is_open}, waiting={self.waiting}, passed={self.passed})"
