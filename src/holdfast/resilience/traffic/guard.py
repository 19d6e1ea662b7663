"""What one call passes on its way to a dependency, in the order in which it passes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from holdfast.clock import Randomness, monotonic_s, system_randomness
from holdfast.errors import DeadlineExceeded, InvalidInput
from holdfast.resilience.breaker.breaker import CircuitBreaker
from holdfast.resilience.breaker.machine import Pass
from holdfast.resilience.breaker.outcomes import CANCELLED, SUCCESS, Kind, Outcome
from holdfast.resilience.healing import Class
from holdfast.resilience.traffic.bulkhead import Bulkhead
from holdfast.resilience.traffic.deadline import Deadline
from holdfast.resilience.traffic.limit import AdaptiveLimit
from holdfast.resilience.traffic.retry import RetryBudget, retry
from holdfast.resilience.traffic.rules import Backoff, is_worth_retrying

T = TypeVar("T")
FAIR_SHARE = 0.5
"""A call that was given less than this share of `timeout_s`, because its caller was in a hurry, proves nothing."""


class Guard:
    """Retry, around a bulkhead, around breakers, around the call with its time: each of them only where it is given.

    Each attempt needs a place and passes the breakers anew. `timeout_s` bounds one attempt, a deadline all of them; the
    breakers see an attempt that took too long as a failure. `breakers`: one, or several from the outside in, such as
    those of a key and of its provider.

    Example::

        guard = Guard(CircuitBreaker("search"), bulkhead=Bulkhead("search", places=10), budget=RetryBudget())
        answer = await guard.call(ask, user="ana", deadline=Deadline(5.0))
    """

    def __init__(
        self,
        breakers: CircuitBreaker | Sequence[CircuitBreaker],
        *,
        bulkhead: Bulkhead | None = None,
        limit: AdaptiveLimit | None = None,
        budget: RetryBudget | None = None,
        backoff: Backoff | None = None,
        is_retryable: Callable[[Exception], bool] = is_worth_retrying,
        timeout_s: float | None = None,
        clock: Callable[[], float] = monotonic_s,
        randomness: Randomness | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._breakers = (breakers,) if isinstance(breakers, CircuitBreaker) else tuple(breakers)
        if not self._breakers:
            raise InvalidInput("guard: expected at least one breaker, saw none")
        if timeout_s is not None and not 0 < timeout_s < float("inf"):
            raise InvalidInput(f"guard: expected timeout_s above 0, saw {timeout_s!r}")
        if backoff is not None and budget is None:
            raise InvalidInput("guard: a back-off without a budget: give budget=RetryBudget() to retry, or neither")
        self.name = self._breakers[-1].name
        self._bulkhead, self._limit, self._budget, self._backoff = bulkhead, limit, budget, backoff
        self._is_retryable = is_retryable
        self._timeout_s = timeout_s
        self._clock = clock
        self._randomness = randomness or system_randomness()
        self._sleep = sleep
        self._only = self._breakers[0] if len(self._breakers) == 1 and limit is None else None

    async def call(
        self,
        function: Callable[[], Awaitable[T]],
        *,
        user: str = "",
        load: Class = "people",
        deadline: Deadline | None = None,
    ) -> T:
        """What `await function()` gives. Raises BulkheadFull, BreakerOpen or DeadlineExceeded where it was not called,
        DeadlineExceeded where it took too long, and what the call raised."""
        if self._budget is None:
            return await self._attempt(function, user, load, deadline)
        return await retry(
            lambda: self._attempt(function, user, load, deadline),
            budget=self._budget,
            backoff=self._backoff,
            deadline=deadline,
            is_retryable=self._is_again,
            randomness=self._randomness,
            sleep=self._sleep,
        )

    async def _attempt(
        self, function: Callable[[], Awaitable[T]], user: str, load: Class, deadline: Deadline | None
    ) -> T:
        bulkhead = self._bulkhead
        if bulkhead is None:
            return await self._through(function, deadline)
        await bulkhead.enter(user, load, deadline)
        try:
            if self._only is not None and deadline is None and self._timeout_s is None:  # a frame less
                return await self._only.call(function)
            return await self._through(function, deadline)
        finally:
            bulkhead.exit(user)

    async def _through(self, function: Callable[[], Awaitable[T]], deadline: Deadline | None) -> T:
        if self._only is not None and deadline is None:  # the usual guard: nothing to put together
            if self._timeout_s is None:
                return await self._only.call(function)
            return await self._only.call(self._bounded, function, self._timeout_s)
        if deadline is not None:
            deadline.check(f"a call to {self.name}")
        given = self._acquire()
        if self._limit is not None:
            self._limit.began()
        began = self._clock()
        try:
            result = await self._timed(function, deadline)
        except BaseException as error:
            self._settle(given, error, self._clock() - began)
            raise
        self._settle(given, None, self._clock() - began)
        return result

    def _acquire(self) -> list[Pass]:
        """The passes of all breakers; where one refuses, the others get theirs back."""
        given: list[Pass] = []
        try:
            for breaker in self._breakers:
                given.append(breaker.acquire())  # noqa: PERF401  those before the one that refuses are wanted
        except BaseException:
            for breaker, passed in zip(self._breakers, given, strict=False):
                breaker.settle(passed, CANCELLED, 0.0)
            raise
        return given

    def _settle(self, given: Sequence[Pass], error: BaseException | None, took_s: float) -> None:
        outcome = SUCCESS
        for breaker, passed in zip(self._breakers, given, strict=True):
            if error is not None:
                outcome = self._outcome(breaker, error)
            breaker.settle(passed, outcome, took_s)
        if self._limit is not None:
            self._limit.ended(outcome.kind, took_s)

    def _outcome(self, breaker: CircuitBreaker, error: BaseException) -> Outcome:
        if isinstance(error, DeadlineExceeded) and error.facts.get("is_hurried"):
            return Outcome(Kind.IGNORED)
        return breaker.classify(error)

    async def _bounded(self, function: Callable[[], Awaitable[T]], timeout_s: float) -> T:
        """What the call gives within the time of one attempt. Half of its cost is that of `asyncio.timeout` itself."""
        try:
            async with asyncio.timeout(timeout_s) as scope:
                return await function()
        except TimeoutError as error:
            if not scope.expired():
                raise  # one of its own
            raise self._late(timeout_s, is_hurried=False, is_last=False) from error

    def _late(self, given_s: float, *, is_hurried: bool, is_last: bool) -> DeadlineExceeded:
        what = f"a call to {self.name}"
        return DeadlineExceeded(
            f"{what}: not done within {given_s:.3f} s", what=what, is_hurried=is_hurried, is_attempt=not is_last
        )

    async def _timed(self, function: Callable[[], Awaitable[T]], deadline: Deadline | None) -> T:
        if deadline is None and self._timeout_s is None:
            return await function()
        left_s = None if deadline is None else deadline.left_s
        bounds = [each for each in (left_s, self._timeout_s) if each is not None]
        given_s = min(bounds)
        try:
            async with asyncio.timeout(given_s) as scope:
                return await function()
        except TimeoutError as error:
            if not scope.expired():
                raise  # one of its own
            is_hurried = self._timeout_s is not None and given_s < FAIR_SHARE * self._timeout_s
            is_last = left_s is not None and left_s <= given_s
            raise self._late(given_s, is_hurried=is_hurried, is_last=is_last) from error

    def _is_again(self, error: Exception) -> bool:
        """An attempt whose own time was over is worth another one, if there is time left for all of them."""
        if isinstance(error, DeadlineExceeded) and error.facts.get("is_attempt"):
            return True
        return self._is_retryable(error)

    def __repr__(self) -> str:
        return f"Guard({self.name!r})"
