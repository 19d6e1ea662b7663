"""What a breaker keeps: over a restart, and of what is usual."""

from __future__ import annotations

import pytest

from holdfast.resilience.breaker import Adaptive, CircuitBreaker
from tests.resilience.stage import Hands, a_breaker, tried, works
from tests.resilience.test_breaker import an_open_breaker


class TestSnapshots:
    async def test_restored_open_it_keeps_its_wait_and_attempt(self) -> None:
        clock, wall = Hands(), Hands(1_700_000_000.0)
        breaker, _ = await an_open_breaker(clock, probes=1)
        clock.pass_s(30)
        await tried(breaker, False)
        clock.pass_s(20)
        before = breaker.snapshot()
        wall.now = before.taken_at_s + 15
        again = CircuitBreaker("llm", breaker.options, clock=Hands(5.0), epoch_s=wall)
        again.restore(before)
        view = again.look()
        assert (view.state, view.attempt, view.retry_after_s) == ("open", 2, pytest.approx(25))

    async def test_a_wall_clock_that_was_set_lengthens_no_wait(self) -> None:
        breaker, _ = await an_open_breaker(Hands())
        snapshot = breaker.snapshot()
        for wall_s, left in ((0.0, 30.0), (4e9, 0.0)):
            again = CircuitBreaker("llm", breaker.options, clock=Hands(5.0), epoch_s=Hands(wall_s))
            again.restore(snapshot)
            assert again.look().retry_after_s == pytest.approx(left)

    async def test_restored_half_open_it_is_open_and_due(self) -> None:
        clock = Hands()
        breaker, _ = await an_open_breaker(clock, probes=1)
        clock.pass_s(30)
        breaker.acquire()
        again, _ = a_breaker(clock, probes=1)
        again.restore(breaker.snapshot())
        assert (again.state, again.look().retry_after_s) == ("open", 0)
        assert await again.call(works) == "fine"

    async def test_what_was_learned_is_kept(self) -> None:
        breaker, again = (a_breaker(Hands(), adaptive=an_adaptive())[0] for _ in range(2))
        await tried(breaker, *[True, True, True, True, True, True, True, True, True, False] * 3)
        again.restore(breaker.snapshot())
        assert again.look().opens_at == breaker.look().opens_at == pytest.approx(0.3)


class TestAdapting:
    async def test_it_learns_what_is_usual_and_says_so(self) -> None:
        breaker, events = a_breaker(Hands(), adaptive=an_adaptive())
        assert breaker.look().opens_at == 0.2
        await tried(breaker, *[True] * 9, False)
        assert breaker.look().opens_at == pytest.approx(0.3)
        assert [event.reason for event in events] == ["opens at 30% failed, before at 20%, for 10.0% is usual"]
        await tried(breaker, *[True] * 7, False, False)
        assert breaker.state == "open"


def an_adaptive() -> Adaptive:
    return Adaptive(rate_min=0.2, rate_max=0.6, times=3.0, weight=0.5)
