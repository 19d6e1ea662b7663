"""How many calls at once are let through, learned from windows of calls."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import AdaptiveLimit, Bulkhead, InvalidInput
from holdfast.resilience.breaker import Kind
from holdfast.resilience.traffic import Aimd, Gradient
from holdfast.resilience.traffic.rules import Estimate, Sample, next_estimate
from tests.resilience.stage import Hands

EITHER = pytest.mark.parametrize("how", [Aimd(), Gradient()], ids=["aimd", "gradient"])


def a_window(limit: AdaptiveLimit, clock: Hands, *, at_once: int, took_s: float, kind: Kind = Kind.SUCCESS) -> None:
    """Calls that began together, and ended together."""
    for _ in range(at_once):
        limit.began()
    clock.pass_s(took_s)
    for _ in range(at_once):
        limit.ended(kind, took_s)


def a_limit(how: Aimd | Gradient, *, places: int = 20, least: int = 2, most: int = 100) -> tuple[AdaptiveLimit, Hands]:
    clock = Hands()
    bulkhead = Bulkhead("model", places=places)
    limit = AdaptiveLimit(bulkhead, how=how, least=least, most=most, window_s=0.5, samples_min=1, clock=clock)
    return limit, clock


@EITHER
class TestEither:
    def test_constant_timeouts_shrink_it_to_the_least(self, how: Aimd | Gradient) -> None:
        limit, clock = a_limit(how)
        for _ in range(50):
            a_window(limit, clock, at_once=limit.places, took_s=1.0, kind=Kind.FAILURE)
        assert limit.places == 2

    def test_traffic_that_does_not_use_it_does_not_grow_it(self, how: Aimd | Gradient) -> None:
        limit, clock = a_limit(how)
        for _ in range(100):
            a_window(limit, clock, at_once=5, took_s=1.0)
        assert limit.places == 20

    def test_traffic_that_uses_it_grows_it_to_the_most(self, how: Aimd | Gradient) -> None:
        limit, clock = a_limit(how)
        for _ in range(200):
            a_window(limit, clock, at_once=limit.places, took_s=1.0)
        assert limit.places == 100

    def test_cancelled_and_ignored_calls_count_for_nothing(self, how: Aimd | Gradient) -> None:
        limit, clock = a_limit(how)
        for kind in (Kind.CANCELLED, Kind.IGNORED) * 20:
            a_window(limit, clock, at_once=20, took_s=30.0, kind=kind)
        assert limit.places == 20

    def test_it_sets_the_places_of_its_bulkhead(self, how: Aimd | Gradient) -> None:
        clock, bulkhead = Hands(), Bulkhead("model", places=500)
        limit = AdaptiveLimit(bulkhead, how=how, most=50, window_s=0.0, samples_min=1, clock=clock)
        assert bulkhead.look().places == 50
        a_window(limit, clock, at_once=50, took_s=1.0, kind=Kind.THROTTLED)
        assert bulkhead.look().places == limit.places < 50

    @given(
        windows=st.lists(
            st.tuples(st.floats(0, 1e6), st.integers(0, 1000), st.integers(0, 50)), min_size=1, max_size=40
        )
    )
    def test_it_stays_within_its_bounds(self, how: Aimd | Gradient, windows: list[tuple[float, int, int]]) -> None:
        estimate = Estimate(20.0)
        for took_s, at_once, drops in windows:
            estimate = next_estimate(estimate, Sample(took_s, at_once, drops), how, least=3, most=40)
            assert 3 <= estimate.limit <= 40


class TestGradient:
    def test_a_queue_behind_the_limit_does_not_grow_it_for_ever(self) -> None:
        """A dependency of 10 places: what is above them waits, and all take longer."""
        limit, clock = a_limit(Gradient(), places=4, most=1000)
        for _ in range(2000):
            a_window(limit, clock, at_once=limit.places, took_s=1.0 * max(1.0, limit.places / 10))
        assert 10 <= limit.places <= 10 * 1.5 + 4

    def test_drops_are_not_learned_as_usual(self) -> None:
        limit, clock = a_limit(Gradient())
        a_window(limit, clock, at_once=20, took_s=1.0)
        for _ in range(50):
            a_window(limit, clock, at_once=limit.places, took_s=60.0, kind=Kind.FAILURE)
        a_window(limit, clock, at_once=2, took_s=60.0)
        assert limit.places <= 3, "60 s are not usual because everything timed out after 60 s"

    def test_a_dependency_that_is_slower_for_good_is_learned_when_nobody_queues(self) -> None:
        estimate = Estimate(20.0, 1.0)
        for _ in range(200):
            estimate = next_estimate(estimate, Sample(3.0, 4, 0), Gradient(), least=1, most=100)
        assert estimate.usual_s == pytest.approx(3.0, rel=0.01)
        assert estimate.limit == 20


class TestAimd:
    def test_slow_windows_shrink_it(self) -> None:
        limit, clock = a_limit(Aimd(slow_s=5.0))
        a_window(limit, clock, at_once=20, took_s=6.0)
        assert limit.places == 18


class TestWindows:
    def test_a_window_needs_its_samples_and_its_time(self) -> None:
        clock, bulkhead = Hands(), Bulkhead("model", places=20)
        limit = AdaptiveLimit(bulkhead, how=Aimd(), window_s=10.0, samples_min=10, clock=clock)
        a_window(limit, clock, at_once=9, took_s=20.0)
        assert limit.places == 20, "nine of ten samples"
        a_window(limit, clock, at_once=1, took_s=0.0)
        assert limit.places == 18
        a_window(limit, clock, at_once=20, took_s=9.0, kind=Kind.FAILURE)
        assert limit.places == 18, "nine of ten seconds"

    @pytest.mark.parametrize("options", [{"least": 0}, {"least": 9, "most": 8}, {"window_s": -1.0}, {"samples_min": 0}])
    def test_bounds_that_mean_nothing_are_refused(self, options: dict[str, int]) -> None:
        with pytest.raises(InvalidInput, match="adaptive limit: expected"):
            AdaptiveLimit(Bulkhead("model", places=1), **options)  # type: ignore[arg-type]

    def test_formulas_that_mean_nothing_are_refused(self) -> None:
        with pytest.raises(InvalidInput, match=r"aimd\.times"):
            Aimd(times=1.5)
        with pytest.raises(InvalidInput, match=r"gradient\.tolerance"):
            Gradient(tolerance=0.5)
