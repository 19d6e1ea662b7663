"""All that one call passes, in its order."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from holdfast import (
    AdaptiveLimit,
    Backoff,
    BreakerOpen,
    BreakerOptions,
    Bulkhead,
    BulkheadFull,
    CircuitBreaker,
    Deadline,
    DeadlineExceeded,
    Guard,
    InvalidInput,
    RetryBudget,
)
from tests.resilience.stage import Boom, Hands, fails, works


async def hangs() -> None:
    await asyncio.Event().wait()


async def at_once(seconds: float) -> None:
    """A wait that takes no time."""


def a_breaker(name: str = "llm", **options: Any) -> CircuitBreaker:
    return CircuitBreaker(name, BreakerOptions(**{"calls_min": 3, "jitter": 0.0, **options}), clock=Hands())


async def test_a_call_gives_what_it_gives_and_its_place_back() -> None:
    bulkhead = Bulkhead("llm", places=2)
    guard = Guard(a_breaker(), bulkhead=bulkhead, limit=AdaptiveLimit(bulkhead, most=2), budget=RetryBudget())
    assert await guard.call(works, user="ana", load="background", deadline=Deadline(60.0)) == "fine"
    assert bulkhead.look().taken == 0


@pytest.mark.parametrize("with_limit", [False, True])
async def test_each_attempt_passes_the_breaker_and_gives_its_place_back(with_limit: bool) -> None:
    breaker, bulkhead = a_breaker(calls_min=10), Bulkhead("llm", places=1)
    limit = AdaptiveLimit(bulkhead, most=1) if with_limit else None
    guard = Guard(breaker, bulkhead=bulkhead, limit=limit, budget=RetryBudget(), sleep=at_once)
    with pytest.raises(Boom):
        await guard.call(fails)
    assert breaker.look().counts == (3, 3, 0)
    assert bulkhead.look().taken == 0


async def test_an_open_breaker_ends_the_retries_at_once() -> None:
    breaker = a_breaker()
    guard = Guard(breaker, budget=RetryBudget(), backoff=Backoff(attempts_max=9), sleep=at_once)
    with pytest.raises(BreakerOpen):
        await guard.call(fails)
    assert breaker.look().counts.calls == 3


async def test_a_full_bulkhead_tells_the_breaker_nothing() -> None:
    breaker, bulkhead = a_breaker(), Bulkhead("llm", places=1, queue_max=0)
    guard = Guard(breaker, bulkhead=bulkhead, budget=RetryBudget(), sleep=at_once)
    async with bulkhead.place():
        with pytest.raises(BulkheadFull):
            await guard.call(works)
    assert (breaker.look().counts.calls, bulkhead.look().refused) == (0, 1)


async def test_attempts_that_hang_open_the_breaker_and_shrink_the_limit() -> None:
    breaker, bulkhead = a_breaker(), Bulkhead("llm", places=10)
    limit = AdaptiveLimit(bulkhead, most=10, window_s=0.0, samples_min=1)
    guard = Guard(breaker, bulkhead=bulkhead, limit=limit, timeout_s=0.002)
    for _ in range(3):
        with pytest.raises(DeadlineExceeded, match=r"a call to llm: not done within 0\.002 s"):
            await guard.call(hangs)
    assert breaker.state == "open"
    assert bulkhead.look().places == 7


async def test_a_caller_in_a_hurry_proves_nothing() -> None:
    breaker = a_breaker()
    guard = Guard(breaker, timeout_s=60.0)
    for _ in range(3):
        with pytest.raises(DeadlineExceeded):
            await guard.call(hangs, deadline=Deadline(0.002))
    assert breaker.look().counts.calls == 0


async def test_an_attempt_that_took_too_long_is_tried_again_a_deadline_is_not() -> None:
    begun = []

    async def hangs_once() -> str:
        begun.append(1)
        if len(begun) == 1:
            await hangs()
        return "fine"

    guard = Guard(a_breaker(), timeout_s=0.002, budget=RetryBudget(), sleep=at_once)
    assert await guard.call(hangs_once, deadline=Deadline(60.0)) == "fine"
    begun.clear()
    guard = Guard(a_breaker(), budget=RetryBudget(), sleep=at_once)
    with pytest.raises(DeadlineExceeded):
        await guard.call(hangs_once, deadline=Deadline(0.002))
    assert begun == [1]


async def test_a_cancelled_call_counts_nowhere_and_gives_all_back() -> None:
    breaker, bulkhead = a_breaker(), Bulkhead("llm", places=4)
    limit = AdaptiveLimit(bulkhead, most=4, window_s=0.0, samples_min=1)
    guard = Guard(breaker, bulkhead=bulkhead, limit=limit, budget=RetryBudget())
    for _ in range(5):
        task = asyncio.ensure_future(guard.call(hangs))
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert breaker.look().counts.calls == 0
    assert bulkhead.look()[1:4] == (4, 0, 0)


async def test_where_the_inner_breaker_refuses_the_outer_gets_its_probe_back() -> None:
    clock = Hands()
    key = CircuitBreaker("llm/ana", BreakerOptions(probes=1, open_s=1.0, jitter=0.0), clock=clock)
    provider = a_breaker()
    provider.open("ill", wait_s=500)
    key.open("throttled")
    clock.pass_s(1)
    guard = Guard([key, provider])
    for _ in range(3):
        with pytest.raises(BreakerOpen, match="breaker llm is open"):
            await guard.call(works)
    provider.release()
    assert await guard.call(works) == "fine"
    assert key.state == "closed"


def test_what_means_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at least one breaker"):
        Guard([])
    with pytest.raises(InvalidInput, match="a back-off without a budget"):
        Guard(a_breaker(), backoff=Backoff())
    with pytest.raises(InvalidInput, match="timeout_s above 0"):
        Guard(a_breaker(), timeout_s=0.0)
