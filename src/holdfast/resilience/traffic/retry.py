"""Once more, but not too often: retries within a budget, for the layer that is nearest to the fault.

A layer that has retried what could be leaves word of it on the error; layers above see it, however the error was
wrapped, and pass it on. So three layers of three attempts make three calls, not twenty-seven.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from holdfast.clock import Randomness, monotonic_s, system_randomness
from holdfast.errors import BreakerOpen, InvalidInput
from holdfast.resilience.traffic.deadline import Deadline
from holdfast.resilience.traffic.rules import (
    Backoff,
    has_spent,
    is_worth_retrying,
    mark_spent,
    retries_left,
    wait_before_retry_s,
)

T = TypeVar("T")
SLICES = 10
USUAL = Backoff()


class RetryBudget:
    """How many retries all callers of a dependency may make together.

    Within any `window_s` seconds they are at most `ratio` of the requests and `per_s` for each second. A retry is taken
    when it is scheduled, so those that still wait for their moment count.

    Source: Finagle's RetryBudget.

    Example::

        budget = RetryBudget(ratio=0.2, per_s=1)
        answer = await retry(ask, budget=budget)
    """

    def __init__(
        self,
        *,
        ratio: float = 0.2,
        per_s: float = 1.0,
        window_s: float = 10.0,
        clock: Callable[[], float] = monotonic_s,
    ) -> None:
        for name, value in (("ratio", ratio), ("per_s", per_s)):
            if not 0 <= value < float("inf"):
                raise InvalidInput(f"retry budget: expected {name} 0 or more, saw {value!r}")
        if not 0 < window_s < float("inf"):
            raise InvalidInput(f"retry budget: expected window_s above 0, saw {window_s!r}")
        self._ratio, self._reserve = ratio, per_s * window_s
        self._per_s = SLICES / window_s
        self._clock = clock
        self._lock = threading.Lock()
        self._ring = [[0, 0] for _ in range(SLICES)]
        self._slice = 0
        self._requests = self._retries = 0
        self._refused = 0
        self._inside: set[asyncio.Task[Any]] = set()

    def enter(self) -> asyncio.Task[Any] | None:
        """Count one request, to be ended by `leave` with what this gives. Layers of one task that share the budget make
        one request together: those within get None."""
        task = asyncio.current_task()
        if task is None or task in self._inside:
            return None
        with self._lock:
            self._turn()[0] += 1
            self._requests += 1
        self._inside.add(task)
        return task

    def leave(self, entered: asyncio.Task[Any] | None) -> None:
        """The request is over."""
        if entered is not None:
            self._inside.discard(entered)

    def take(self) -> bool:
        """Whether one more retry may be scheduled; it is taken then."""
        with self._lock:
            now = self._turn()
            if retries_left(self._requests, self._retries, ratio=self._ratio, reserve=self._reserve) < 1:
                self._refused += 1
                return False
            now[1] += 1
            self._retries += 1
            return True

    @property
    def left(self) -> float:
        """How many retries may be scheduled now."""
        with self._lock:
            self._turn()
            return retries_left(self._requests, self._retries, ratio=self._ratio, reserve=self._reserve)

    @property
    def refused(self) -> int:
        """How many retries were not scheduled for want of budget."""
        return self._refused

    def _turn(self) -> list[int]:
        """The slice of now; what is a whole window older is dropped."""
        slice_ = int(self._clock() * self._per_s)
        if slice_ > self._slice:
            for passed in range(max(self._slice, slice_ - SLICES) + 1, slice_ + 1):
                part = self._ring[passed % SLICES]
                self._requests -= part[0]
                self._retries -= part[1]
                part[:] = (0, 0)
            self._slice = slice_
        return self._ring[self._slice % SLICES]

    def __repr__(self) -> str:
        return f"RetryBudget({self.left:.1f} left)"


async def retry(
    function: Callable[[], Awaitable[T]],
    *,
    budget: RetryBudget,
    backoff: Backoff | None = None,
    deadline: Deadline | None = None,
    waits_for_breaker: bool = False,
    is_retryable: Callable[[Exception], bool] = is_worth_retrying,
    randomness: Randomness | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> T:
    """What `await function()` gives, tried again after a failure that may pass while the budget and deadline allow it.

    Raises what the last attempt raised. A cancellation is never retried, BreakerOpen only where `waits_for_breaker`,
    when its `retry_after_s` is over. The deadline spans all attempts; it bounds the waits between them, and the
    function bounds itself.
    """
    options = backoff or USUAL
    entered, attempt = budget.enter(), 0
    try:
        while True:
            try:
                return await function()
            except Exception as error:
                attempt += 1
                if not _may_retry(error, is_retryable, waits_for_breaker=waits_for_breaker):
                    raise
                draw = (randomness or _chance()).random()
                left_s = None if deadline is None else deadline.left_s
                wait_s = wait_before_retry_s(error, attempt, options, draw=draw, left_s=left_s)
                if wait_s is None or not budget.take():
                    mark_spent(error)
                    raise
            await sleep(wait_s)
    finally:
        budget.leave(entered)


def _may_retry(error: Exception, is_retryable: Callable[[Exception], bool], *, waits_for_breaker: bool) -> bool:
    if has_spent(error):
        return False
    if isinstance(error, BreakerOpen):
        return waits_for_breaker and error.facts.get("retry_after_s") is not None
    return is_retryable(error)


_drawn: list[Randomness] = []


def _chance() -> Randomness:
    """One source of chance for whoever brings none, made when it is first needed: seeding it costs a system call."""
    if not _drawn:
        _drawn.append(system_randomness())
    return _drawn[0]
