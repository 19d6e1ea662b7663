"""What a breaker promises, call by call, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from holdfast.errors import BreakerOpen
from holdfast.resilience.breaker import BreakerEvent, BreakerOptions, CircuitBreaker, Kind, Outcome
from tests.resilience.stage import Boom, Hands, a_breaker, an_open_breaker, fails, tried, works


class TestOpening:
    async def test_it_opens_at_the_fifth_failure_and_the_sixth_call_is_never_made(self) -> None:
        breaker, _ = a_breaker(Hands())
        await tried(breaker, *[False] * 4)
        assert breaker.state == "closed"
        with pytest.raises(Boom):  # who opens it sees what happened to him
            await breaker.call(fails)
        assert breaker.state == "open"
        made = []

        async def call() -> None:
            made.append(1)

        with pytest.raises(BreakerOpen) as refused:
            await breaker.call(call)
        assert made == []
        assert (refused.value.breaker, refused.value.state, refused.value.retry_after_s) == ("llm", "open", 30)
        assert "failed: 5 of 5 calls" in str(refused.value)
        assert breaker.look().last_error == "Boom: no answer"

    async def test_failures_that_alternate_with_successes_open_it(self) -> None:
        breaker, _ = a_breaker(Hands())
        await tried(breaker, *[True, False] * 3)
        assert breaker.state == "open"

    async def test_so_many_failures_in_a_row_open_it_whatever_was_before(self) -> None:
        """A busy minute of successes does not hide an outage."""
        breaker, events = a_breaker(Hands(), window_calls=1000, failures_in_row=10)
        await tried(breaker, *[True] * 900, *[False] * 9, True, *[False] * 9)
        assert breaker.state == "closed"
        await tried(breaker, False)
        assert (breaker.state, events[-1].reason) == ("open", "failed: 10 calls in a row")

    async def test_a_success_that_completes_the_minimum_opens_it(self) -> None:
        breaker, _ = a_breaker(Hands())
        await tried(breaker, False, False, False, False, True)
        assert breaker.state == "open"

    async def test_failures_expire_without_traffic(self) -> None:
        clock = Hands()
        breaker, _ = a_breaker(clock, window_s=10.0, calls_min=5)
        await tried(breaker, *[False] * 4)
        clock.pass_s(10)
        await tried(breaker, False)
        assert breaker.look().counts == (1, 1, 0)
        assert breaker.state == "closed"

    async def test_a_minimum_above_the_window_is_the_window(self) -> None:
        breaker, _ = a_breaker(Hands(), window_calls=4, calls_min=100)
        await tried(breaker, *[False] * 4)
        assert breaker.state == "open"

    async def test_calls_that_are_all_slow_open_it_and_it_says_so(self) -> None:
        clock = Hands()
        breaker, events = a_breaker(clock, slow_s=1.0, slow_rate=1.0)

        async def crawls() -> None:
            clock.pass_s(1.5)

        for _ in range(5):
            await breaker.call(crawls)
        assert breaker.state == "open"
        assert events[-1].reason == "slow: 5 of 5 calls took over 1 s, the threshold is 100%"

    async def test_ignored_errors_neither_count_nor_make_it_forget(self) -> None:
        def classify(error: Exception) -> Outcome:
            return Outcome(Kind.IGNORED if isinstance(error, KeyError) else Kind.FAILURE)

        async def asks_wrongly() -> None:
            raise KeyError("mine")

        breaker, _ = a_breaker(Hands(), classify=classify)
        await tried(breaker, *[False] * 4)
        for _ in range(20):
            with suppress(KeyError):
                await breaker.call(asks_wrongly)
        assert breaker.look().counts == (4, 4, 0)
        await tried(breaker, False)
        assert breaker.state == "open"

    async def test_cancelled_calls_change_nothing(self) -> None:
        breaker, _ = a_breaker(Hands(), calls_min=3)
        await tried(breaker, False, False)
        for _ in range(3):
            await a_cancelled_call(breaker)
        assert breaker.look().counts == (2, 2, 0)
        await tried(breaker, False)
        assert breaker.state == "open"

    async def test_a_classifier_that_raises_makes_a_failure(self) -> None:
        def broken(error: Exception) -> Outcome:
            raise RuntimeError("broken")

        breaker, _ = a_breaker(Hands(), classify=broken)
        await tried(breaker, *[False] * 5)
        assert breaker.state == "open"


class TestProbing:
    async def test_of_fifty_callers_three_pass_and_the_others_are_told_when_to_come(self) -> None:
        clock = Hands()
        breaker, _ = await an_open_breaker(clock, probes=3, probe_ttl_s=20.0)
        clock.pass_s(30)
        reached, go_on = [], asyncio.Event()

        async def call() -> None:
            reached.append(1)
            await go_on.wait()

        callers = [asyncio.ensure_future(breaker.call(call)) for _ in range(50)]
        await asyncio.sleep(0)
        go_on.set()
        results = await asyncio.gather(*callers, return_exceptions=True)
        refused = [result for result in results if isinstance(result, BreakerOpen)]
        assert (len(reached), len(refused)) == (3, 47)
        assert {each.retry_after_s for each in refused} == {20.0}

    @pytest.mark.parametrize(
        ("outcomes", "state"),
        [((False, True, True), "closed"), ((False, False), "open"), ((True, True), "closed")],
    )
    async def test_the_rate_decides_as_soon_as_it_can(self, outcomes: tuple[bool, ...], state: str) -> None:
        clock = Hands()
        breaker, _ = await an_open_breaker(clock, probes=3)
        clock.pass_s(30)
        for number, outcome in enumerate(outcomes):
            assert number == 0 or breaker.state == "half_open"
            await tried(breaker, outcome)
        assert breaker.state == state

    async def test_a_cancelled_probe_gives_its_permit_back(self) -> None:
        clock = Hands()
        breaker, _ = await an_open_breaker(clock, probes=1)
        clock.pass_s(30)
        await a_cancelled_call(breaker)
        assert breaker.state == "half_open"
        await tried(breaker, True)
        assert breaker.state == "closed"

    async def test_an_ignored_probe_gives_its_permit_back(self) -> None:
        clock = Hands()
        breaker, _ = await an_open_breaker(clock, probes=1, classify=lambda error: Outcome(Kind.IGNORED))
        clock.pass_s(30)
        await tried(breaker, False)
        assert breaker.state == "half_open"
        await tried(breaker, True)
        assert breaker.state == "closed"

    async def test_a_probe_that_hangs_has_failed_and_its_late_result_is_ignored(self) -> None:
        clock = Hands()
        breaker, _ = await an_open_breaker(clock, probes=1, probe_ttl_s=20.0)
        clock.pass_s(30)
        hanging = breaker.acquire()
        clock.pass_s(20)
        with pytest.raises(BreakerOpen):
            await breaker.call(works)
        view = breaker.look()
        assert (view.state, view.reason, view.attempt) == ("open", "probes failed: 1 of 1", 2)
        breaker.settle(hanging, Outcome(Kind.SUCCESS), 20.0)
        assert (breaker.state, breaker.look().late) == ("open", 1)

    async def test_a_hanging_probe_of_several_does_not_count_twice(self) -> None:
        clock = Hands()
        breaker, _ = await an_open_breaker(clock, probes=3, probe_ttl_s=20.0)
        clock.pass_s(30)
        hanging = breaker.acquire()
        clock.pass_s(20)
        assert breaker.state == "half_open"
        breaker.settle(hanging, Outcome(Kind.FAILURE), 20.0)
        await tried(breaker, True, True)
        assert breaker.state == "closed"

    async def test_no_traffic_never_sticks(self) -> None:
        clock = Hands()
        breaker, _ = await an_open_breaker(clock, probes=3, probing_max_s=60.0)
        clock.pass_s(30)
        await tried(breaker, False)
        clock.pass_s(3600)
        await tried(breaker, True, True)  # a new round: the failure of an hour ago says nothing any more
        assert breaker.state == "closed"

    async def test_results_of_calls_that_began_earlier_change_nothing(self) -> None:
        clock = Hands()
        breaker, _ = a_breaker(clock)
        early = [breaker.acquire() for _ in range(10)]
        await tried(breaker, *[False] * 5)
        breaker.settle(early[0], Outcome(Kind.SUCCESS), 1.0)
        assert breaker.state == "open"
        clock.pass_s(30)
        await tried(breaker, True, True)
        assert breaker.state == "closed"
        for given in early[1:]:
            breaker.settle(given, Outcome(Kind.FAILURE), 99.0)
        assert (breaker.state, breaker.look().counts.calls, breaker.look().late) == ("closed", 0, 10)

    async def test_waits_grow_are_capped_and_begin_anew_after_it_was_well(self) -> None:
        clock = Hands()
        breaker, _ = await an_open_breaker(clock, probes=1, open_max_s=100.0)
        waits = []
        for _ in range(3):
            waits.append(breaker.look().retry_after_s)
            clock.pass_s(waits[-1] or 0)
            await tried(breaker, False)
        assert waits == [30, 60, 100]
        clock.pass_s(100)
        await tried(breaker, True, *[False] * 5)
        assert breaker.look().retry_after_s == 30

    async def test_two_breakers_do_not_probe_at_one_moment(self) -> None:
        clock = Hands()
        waits = [(await an_open_breaker(clock, seed=seed, jitter=0.2))[0].look().retry_after_s for seed in (1, 2, 1)]
        assert waits[0] == waits[2] != waits[1]
        assert all(24 < (wait or 0) <= 30 for wait in waits)


class TestRamp:
    async def test_it_lets_in_more_and_more(self) -> None:
        clock = Hands()
        breaker, _ = await a_ramping_breaker(clock)
        shares = []
        for _ in range(4):
            shares.append(round(breaker.look().share, 2))
            clock.pass_s(5)
        assert shares == [0.1, 0.4, 0.7, 1.0]
        assert breaker.look().attempt == 0

    async def test_the_share_is_kept(self) -> None:
        """Of the calls a second that were usual: one at a time is never refused, a flood gets its share."""
        clock = Hands()
        breaker, _ = await a_ramping_breaker(clock, ramp_s=100.0, ramp_rate_min=20.0)
        admitted = 0
        for _ in range(1000):  # a hundred a second, for ten seconds of the ramp
            clock.pass_s(0.01)
            with suppress(BreakerOpen):
                await breaker.call(works)
                admitted += 1
        assert admitted == pytest.approx(20 * 10 * 0.145, abs=3)
        clock.pass_s(1)
        assert await breaker.call(works) == "fine"

    async def test_what_was_usual_is_measured(self) -> None:
        clock = Hands()
        breaker, _ = a_breaker(clock, ramp_s=10.0, probes=1, window_s=10.0)
        for _ in range(1000):
            clock.pass_s(0.01)
            await breaker.call(works)
        breaker.open("planted")
        clock.pass_s(30)
        await tried(breaker, True)
        assert breaker.look().pace == pytest.approx(10, abs=1), "a tenth of a hundred a second"

    async def test_a_failure_in_it_opens_it_for_longer(self) -> None:
        clock = Hands()
        breaker, _ = await a_ramping_breaker(clock)
        clock.pass_s(14.9)
        await tried(breaker, False)
        assert (breaker.state, breaker.look().retry_after_s) == ("open", 60)


class TestEvents:
    async def test_each_move_is_told_once(self) -> None:
        clock = Hands()
        breaker, events = await an_open_breaker(clock, probes=1)
        clock.pass_s(30)
        for _ in range(5):
            with suppress(BreakerOpen):
                await breaker.call(works)
        assert [(event.before, event.after, event.generation) for event in events] == [
            ("closed", "open", 1),
            ("open", "half_open", 2),
            ("half_open", "closed", 3),
        ]

    async def test_a_listener_that_raises_harms_nobody(self) -> None:
        breaker, events = a_breaker(Hands())

        def broken(event: BreakerEvent) -> None:
            raise RuntimeError("broken")

        breaker.listen(broken)
        later: list[BreakerEvent] = []
        end = breaker.listen(later.append)
        await tried(breaker, *[False] * 5)
        assert len(events) == len(later) == 1
        end()
        breaker.release()
        assert (len(events), len(later)) == (2, 1)

    async def test_refusals_are_counted_not_told(self) -> None:
        breaker, events = await an_open_breaker(Hands())
        for _ in range(100):
            with suppress(BreakerOpen):
                await breaker.call(works)
        assert (breaker.look().refused, len(events)) == (100, 1)


class TestWaysToCall:
    async def test_a_stream_that_breaks_counts_once(self) -> None:
        breaker, _ = a_breaker(Hands())

        async def breaks() -> AsyncIterator[int]:
            yield 1
            raise Boom("cut")

        with pytest.raises(Boom):
            [item async for item in breaker.stream(breaks)]
        assert breaker.look().counts == (1, 1, 0)

    async def test_a_stream_that_its_reader_closes_counts_as_cancelled(self) -> None:
        breaker, _ = a_breaker(Hands())

        async def endless() -> AsyncIterator[int]:
            while True:
                yield 1

        items = breaker.stream(endless)
        assert await anext(items) == 1
        await items.aclose()  # type: ignore[attr-defined]
        assert breaker.look().counts.calls == 0

    async def test_a_stream_read_to_its_end_is_a_success(self) -> None:
        breaker, _ = a_breaker(Hands())

        async def two() -> AsyncIterator[int]:
            yield 1
            yield 2

        assert [item async for item in breaker.stream(two)] == [1, 2]
        assert breaker.look().counts == (1, 0, 0)

    async def test_blocks_and_decorated_functions_count_alike(self) -> None:
        breaker, _ = a_breaker(Hands())

        @breaker.wrap
        def add(one: int, other: int) -> int:
            return one + other

        assert add(1, other=2) == 3
        assert await breaker.wrap(works)() == "fine"
        with pytest.raises(Boom), breaker.attempt():
            raise Boom("in a block")
        assert breaker.look().counts == (3, 1, 0)

    def test_two_loops_and_a_thread_count_right(self) -> None:
        breaker = CircuitBreaker("shared", BreakerOptions(window_calls=100_000, calls_min=100_000))

        async def many() -> None:
            for _ in range(2_000):
                await breaker.call(works)

        def in_a_loop() -> None:
            asyncio.run(many())

        def in_a_thread() -> None:
            for _ in range(2_000):
                with suppress(Boom), breaker.attempt():
                    raise Boom

        threads = [threading.Thread(target=target) for target in (in_a_loop, in_a_loop, in_a_thread)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert breaker.look().counts == (6_000, 2_000, 0)


async def a_ramping_breaker(clock: Hands, **options: object) -> tuple[CircuitBreaker, list[BreakerEvent]]:
    breaker, events = await an_open_breaker(clock, **{"probes": 1, "ramp_s": 15.0, **options})
    clock.pass_s(30)
    await tried(breaker, True)
    assert breaker.state == "closed"
    return breaker, events


async def a_cancelled_call(breaker: CircuitBreaker) -> None:
    begun = asyncio.Event()

    async def hangs() -> None:
        begun.set()
        await asyncio.Event().wait()

    call = asyncio.ensure_future(breaker.call(hangs))
    await begun.wait()
    call.cancel()
    with suppress(asyncio.CancelledError):
        await call
