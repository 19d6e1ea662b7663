"""One task that waits for the earliest of many due times and calls back. Nothing polls."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

from holdfast.clock import Clock
from holdfast.tasks import Supervisor

HEAP_MIN = 64
"""So many cancelled appointments may lie about before they are cleared out."""


class Appointment:
    """One call-back to come; `cancel` it when it is not wanted any more."""

    __slots__ = ("_on_cancel", "call", "due")

    def __init__(self, due: float, call: Callable[[], None], on_cancel: Callable[[], None]) -> None:
        self.due = due
        self.call: Callable[[], None] | None = call
        self._on_cancel = on_cancel

    def cancel(self) -> None:
        if self.call is not None:
            self.call = None
            self._on_cancel()


class Alarm:
    """Calls back at due times on the loop it was started in. `now_s` says what time it is where the times were set, on
    the store; `clock` only sleeps: by its own time, were it wrong, it would ring late, or ring on and on too early."""

    def __init__(self, clock: Clock, tasks: Supervisor, *, now_s: Callable[[], float]) -> None:
        self._clock = clock
        self._now_s = now_s
        self._tasks = tasks
        self._heap: list[tuple[float, int, Appointment]] = []
        self._numbers = itertools.count()
        self._sleeper: asyncio.Task[None] | None = None
        self._wakes_at = float("inf")
        self._cancelled = 0

    def at(self, due: float, call: Callable[[], None]) -> Appointment:
        """Call `call` once `due` has come; soon, if it has."""
        appointment = Appointment(due, call, self._clear_out)
        heapq.heappush(self._heap, (due, next(self._numbers), appointment))
        if due < self._wakes_at:
            self._sleep()
        return appointment

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def _clear_out(self) -> None:
        """One was cancelled: forget them all once they are most. A run of a moment may have a deadline in a month."""
        self._cancelled += 1
        if self._cancelled > max(HEAP_MIN, len(self._heap) // 2):
            self._heap = [item for item in self._heap if item[2].call is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def _sleep(self) -> None:
        if self._sleeper is not None:
            self._sleeper.cancel()
        while self._heap and self._heap[0][2].call is None:
            heapq.heappop(self._heap)
            self._cancelled -= 1
        self._wakes_at = self._heap[0][0] if self._heap else float("inf")
        self._sleeper = self._tasks.start(self._ring(), name="alarm") if self._heap else None

    async def _ring(self) -> None:
        await self._clock.sleep(max(0.0, self._wakes_at - self._now_s()))
        now = self._now_s()
        while self._heap and self._heap[0][0] <= now:
            appointment = heapq.heappop(self._heap)[2]
            if (call := appointment.call) is not None:
                appointment.call = None
                call()
            else:
                self._cancelled -= 1
        self._sleeper = None
        self._sleep()
