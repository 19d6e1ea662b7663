"""How often again: within a budget, once for all layers, and never past a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from holdfast import (
    Backoff,
    BreakerOpen,
    BulkheadFull,
    CommitUnknown,
    Deadline,
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    RetryBudget,
    Unavailable,
    UserExecutionContext,
    retry,
)
from holdfast.clock import seeded_randomness, system_time_s
from holdfast.resilience.traffic.rules import backoff_s
from tests.resilience.stage import Boom, Hands


class Away:
    """A dependency that fails each time, or as often as it is told."""

    def __init__(self, error: Callable[[], Exception] = Boom, *, times: int = 1_000_000) -> None:
        self.calls = 0
        self._error = error
        self._times = times

    async def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self._times:
            raise self._error()
        return "fine"


class Sleeps:
    """Waits that move a clock, and take no time."""

    def __init__(self, clock: Hands) -> None:
        self.clock = clock
        self.waits: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.pass_s(seconds)


class Stage:
    def __init__(self, **budget: float) -> None:
        self.clock = Hands()
        self.sleeps = Sleeps(self.clock)
        self.budget = RetryBudget(**{"per_s": 100.0, **budget}, clock=self.clock)

    async def retry(self, function: Any, **options: Any) -> Any:
        given = {"budget": self.budget, "randomness": seeded_randomness(1), "sleep": self.sleeps, **options}
        return await retry(function, **given)


class TestAttempts:
    async def test_what_passes_is_tried_again(self) -> None:
        away = Away(times=2)
        assert await Stage().retry(away) == "fine"
        assert away.calls == 3

    async def test_the_last_error_is_raised_when_attempts_are_spent(self) -> None:
        away = Away()
        with pytest.raises(Boom):
            await Stage().retry(away, backoff=Backoff(attempts_max=4))
        assert away.calls == 4

    @pytest.mark.parametrize(
        "error",
        [
            BreakerOpen("open", retry_after_s=0.1),
            BulkheadFull("full"),
            DeadlineExceeded("late"),
            CommitUnknown("who knows"),
            NotFound("nowhere"),
        ],
        ids=lambda error: type(error).__name__,
    )
    async def test_what_another_try_cannot_mend_is_not_tried_again(self, error: Exception) -> None:
        away = Away(lambda: error)
        with pytest.raises(type(error)):
            await Stage().retry(away)
        assert away.calls == 1

    async def test_a_cancellation_is_never_retried_whatever_the_predicate_says(self) -> None:
        begun, calls = asyncio.Event(), []

        async def hangs() -> None:
            calls.append(1)
            begun.set()
            await asyncio.Event().wait()

        task = asyncio.ensure_future(Stage().retry(hangs, is_retryable=lambda error: True))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert calls == [1]

    async def test_an_open_breaker_is_waited_for_where_asked_and_the_deadline_allows(self) -> None:
        def refusal() -> Exception:
            return BreakerOpen("open", retry_after_s=5.0)

        stage, away = Stage(), Away(refusal, times=1)
        assert await stage.retry(away, waits_for_breaker=True, deadline=Deadline(6.0, clock=stage.clock)) == "fine"
        assert 5.0 <= stage.sleeps.waits[0] < 5.1
        stage, away = Stage(), Away(refusal, times=1)
        with pytest.raises(BreakerOpen):
            await stage.retry(away, waits_for_breaker=True, deadline=Deadline(4.0, clock=stage.clock))
        assert (away.calls, stage.sleeps.waits) == (1, [])

    async def test_a_breaker_that_only_a_person_releases_is_not_waited_for(self) -> None:
        away = Away(lambda: BreakerOpen("forced open", retry_after_s=None))
        with pytest.raises(BreakerOpen):
            await Stage().retry(away, waits_for_breaker=True)
        assert away.calls == 1


class TestWaits:
    def test_they_double_are_capped_and_drawn_from_zero(self) -> None:
        options = Backoff(base_s=0.1, cap_s=0.5)
        assert [backoff_s(n, options, draw=1.0) for n in (1, 2, 3, 4, 500)] == [0.1, 0.2, 0.4, 0.5, 0.5]
        assert backoff_s(3, options, draw=0.0) == 0
        with pytest.raises(ValueError, match="attempt"):
            backoff_s(0, options, draw=0.5)

    async def test_what_the_other_side_asks_for_is_the_least(self) -> None:
        stage, away = Stage(), Away(lambda: Unavailable("busy", retry_after_s=7), times=1)
        await stage.retry(away)
        assert stage.sleeps.waits[0] >= 7

    @pytest.mark.parametrize("told_s", [-1, 3600])
    async def test_push_back_stops_it(self, told_s: float) -> None:
        """Below zero it means never; an hour is more than anybody waits in a call."""
        away = Away(lambda: Unavailable("busy", retry_after_s=told_s))
        with pytest.raises(Unavailable):
            await Stage().retry(away)
        assert away.calls == 1

    async def test_a_deadline_spans_all_attempts(self) -> None:
        stage, away = Stage(), Away()
        backoff = Backoff(attempts_max=1000, base_s=1.0, cap_s=1.0)
        with pytest.raises(Boom):
            await stage.retry(away, backoff=backoff, deadline=Deadline(10.0, clock=stage.clock))
        assert sum(stage.sleeps.waits) < 10
        assert away.calls > 10

    @pytest.mark.parametrize("options", [{"attempts_max": 0}, {"base_s": 0.0}, {"cap_s": float("nan")}])
    def test_values_that_mean_nothing_are_refused(self, options: dict[str, float]) -> None:
        with pytest.raises(InvalidInput, match=f"{next(iter(options))}: expected"):
            Backoff(**options)  # type: ignore[arg-type]


class TestBudget:
    async def test_when_all_fails_attempts_stay_within_ratio_and_minimum(self) -> None:
        stage, away = Stage(ratio=0.2, per_s=1.0, window_s=10.0), Away()
        for _ in range(1000):
            with pytest.raises(Boom):
                await stage.retry(away, backoff=Backoff(attempts_max=5, base_s=1e-6))
        assert 1.2 * 1000 - 1 <= away.calls <= 1.2 * 1000 + 1.0 * 10

    async def test_a_retry_counts_when_it_is_scheduled(self) -> None:
        """Five hundred callers fail together: those that wait for their moment leave nothing to the others."""
        budget, away, waiting, go_on = RetryBudget(ratio=0.0, per_s=1.0, clock=Hands()), Away(), [], asyncio.Event()

        async def sleep(seconds: float) -> None:
            waiting.append(seconds)
            await go_on.wait()

        callers = [asyncio.ensure_future(retry(away, budget=budget, sleep=sleep)) for _ in range(500)]
        await asyncio.sleep(0)
        assert (len(waiting), away.calls, budget.refused) == (10, 500, 490)
        go_on.set()
        await asyncio.gather(*callers, return_exceptions=True)
        assert away.calls == 510

    async def test_it_fills_again_as_time_passes(self) -> None:
        clock = Hands()
        budget = RetryBudget(ratio=0.0, per_s=1.0, window_s=10.0, clock=clock)
        assert [budget.take() for _ in range(11)] == [True] * 10 + [False]
        clock.pass_s(10)
        assert budget.left == 10

    async def test_three_layers_make_the_attempts_of_one(self) -> None:
        stage, away = Stage(), Away()

        async def middle() -> str:
            try:
                return await stage.retry(away)
            except Boom as error:
                raise Unavailable("the agent cannot answer") from error

        async def outer() -> Any:
            return await stage.retry(middle)

        with pytest.raises(Unavailable):
            await stage.retry(outer)
        assert away.calls == 3
        assert stage.budget.left == pytest.approx(1000 + 0.2 - 2), "one request, two retries"

    async def test_a_layer_above_retries_what_no_layer_below_did(self) -> None:
        stage, away = Stage(), Away(times=2)

        async def middle() -> Any:
            return await stage.retry(away, is_retryable=lambda error: False)

        assert await stage.retry(middle) == "fine"
        assert away.calls == 3

    @pytest.mark.parametrize("options", [{"ratio": -0.1}, {"per_s": -1.0}, {"window_s": 0.0}])
    def test_values_that_mean_nothing_are_refused(self, options: dict[str, float]) -> None:
        with pytest.raises(InvalidInput, match=f"retry budget: expected {next(iter(options))}"):
            RetryBudget(**options)


class TestDeadline:
    async def test_it_ends_what_takes_too_long(self) -> None:
        with pytest.raises(DeadlineExceeded, match="the answer: not done within") as error:
            async with Deadline(0.01).bound("the answer"):
                await asyncio.Event().wait()
        assert isinstance(error.value, TimeoutError)
        assert isinstance(error.value, Unavailable)

    async def test_what_is_late_already_is_not_begun(self) -> None:
        clock, begun = Hands(), []
        deadline = Deadline(1.0, clock=clock)
        clock.pass_s(1)
        with pytest.raises(DeadlineExceeded, match="not begun"):
            async with deadline.bound("the answer"):
                begun.append(1)
        assert begun == []

    async def test_a_timeout_of_the_work_itself_passes(self) -> None:
        with pytest.raises(TimeoutError) as error:
            async with Deadline(60.0).bound("the answer"):
                raise TimeoutError("the work's own")
        assert not isinstance(error.value, DeadlineExceeded)

    def test_a_part_may_only_be_shorter(self) -> None:
        clock = Hands()
        whole = Deadline(5.0, clock=clock)
        assert whole.within(2.0).left_s == 2
        assert whole.within(60.0).left_s == 5
        clock.pass_s(4)
        assert whole.within(2.0).left_s == 1

    def test_it_is_read_from_a_context(self) -> None:
        context = UserExecutionContext(user="ana", deadline_s=system_time_s() + 30)
        deadline = Deadline.of(context)
        assert deadline is not None
        assert 29 < deadline.left_s <= 30
        assert Deadline.of(UserExecutionContext(user="ana")) is None

    def test_no_number_is_no_deadline(self) -> None:
        with pytest.raises(InvalidInput, match="saw nan"):
            Deadline(float("nan"))
