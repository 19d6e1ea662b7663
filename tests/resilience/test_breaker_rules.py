"""What holds of breakers whatever happens: windows beside a naive model, and machines under drawn traffic."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import InvalidInput
from holdfast.resilience.breaker.machine import BreakerMachine, Pass
from holdfast.resilience.breaker.options import Adaptive, BreakerOptions
from holdfast.resilience.breaker.outcomes import CANCELLED, FAILURE, IGNORED, SUCCESS, Outcome
from holdfast.resilience.breaker.rules import Counts, learn, open_wait_s, ramp_share
from holdfast.resilience.breaker.window import SLICES, CountWindow, TimeWindow

calls = st.lists(st.tuples(st.floats(0, 3), st.booleans(), st.booleans()), max_size=80)


def record(window: CountWindow | TimeWindow, now: float, has_failed: bool, is_slow: bool) -> None:
    if has_failed or is_slow:
        window.record(now, has_failed, is_slow)
    else:
        window.record_success(now)


@given(size=st.integers(1, 12), given_calls=calls)
def test_a_count_window_is_the_last_calls(size: int, given_calls: list[tuple[float, bool, bool]]) -> None:
    window, seen = CountWindow(size), []
    for _, has_failed, is_slow in given_calls:
        record(window, 0.0, has_failed, is_slow)
        seen.append((has_failed, is_slow))
        last = seen[-size:]
        assert window.counts(0.0) == (len(last), sum(each[0] for each in last), sum(each[1] for each in last))


@given(length_s=st.sampled_from([1.0, 10.0, 60.0]), given_calls=calls)
def test_a_time_window_is_the_calls_of_its_slices(length_s: float, given_calls: list[tuple[float, bool, bool]]) -> None:
    window, seen, now = TimeWindow(length_s), [], 1000.0
    for pause_s, has_failed, is_slow in given_calls:
        now += pause_s
        record(window, now, has_failed, is_slow)
        slice_ = int(now * SLICES / length_s)
        seen.append((slice_, has_failed, is_slow))
        last = [each for each in seen if each[0] > slice_ - SLICES]
        assert window.counts(now) == (len(last), sum(each[1] for each in last), sum(each[2] for each in last))
    assert window.counts(now + 2 * length_s) == Counts()


class Traffic:
    """A machine under calls that end in any order, some never."""

    def __init__(self, options: BreakerOptions, draws: list[float]) -> None:
        self.machine = BreakerMachine(options, now=0.0, draw=lambda: draws[0])
        self.now = 1000.0
        self.under_way: list[Pass] = []

    def acquire(self) -> None:
        given = self.machine.acquire(self.now)
        if isinstance(given, Pass):
            self.under_way.append(given)

    def settle(self, index: int, outcome: Outcome, took_s: float) -> None:
        if self.under_way:
            given = self.under_way.pop(index % len(self.under_way))
            before = (self.machine.state, self.machine.counts(self.now))
            is_late = given.generation != self.machine.generation
            if outcome is SUCCESS:
                self.machine.succeeded(given, self.now, took_s)
            else:
                self.machine.settle(given, outcome, self.now, took_s)
            if is_late:
                assert (self.machine.state, self.machine.counts(self.now)) == before, "a late result changed something"

    def check(self) -> None:
        machine = self.machine
        probes = [each for each in self.under_way if each.generation == machine.generation]
        if machine.state == "half_open":
            alive = [each for each in probes if each.expires_at is not None and each.expires_at > self.now]
            assert len(alive) <= machine.options.probes, "more probes than places"
        if machine.state == "open":
            assert probes == [], "a call was let in while it was open"
            assert machine.door is None
        assert (machine.door is None) or machine.state == "closed"


steps = st.lists(
    st.one_of(
        st.just(("acquire",)),
        st.tuples(st.just("pass"), st.sampled_from([0.1, 1.0, 5.0, 30.0])),
        st.tuples(
            st.just("settle"),
            st.integers(0, 9),
            st.sampled_from([SUCCESS, FAILURE, FAILURE, IGNORED, CANCELLED]),
            st.sampled_from([0.1, 9.0]),
        ),
    ),
    max_size=120,
)


@settings(max_examples=150, deadline=None)
@given(
    given_steps=steps,
    probes=st.integers(1, 3),
    is_open=st.booleans(),
    ramp_s=st.sampled_from([0.0, 10.0]),
    window_s=st.sampled_from([None, 10.0]),
)
def test_whatever_happens_no_more_probes_than_places_and_nothing_late_counts(
    given_steps: list[tuple[object, ...]], probes: int, is_open: bool, ramp_s: float, window_s: float | None
) -> None:
    options = BreakerOptions(
        calls_min=2, window_calls=5, window_s=window_s, probes=probes, ramp_s=ramp_s, open_s=5.0, slow_s=5.0,
        probe_ttl_s=8.0, probing_max_s=20.0,
    )  # fmt: skip
    traffic = Traffic(options, [0.5])
    if is_open:  # most of what can go wrong goes wrong behind an opening, which calls alone draw seldom
        traffic.machine.open(traffic.now, "planted")
        traffic.now += 5.0
    for name, *arguments in given_steps:
        if name == "acquire":
            traffic.acquire()
        elif name == "pass":
            traffic.now += float(arguments[0])  # type: ignore[arg-type]
        else:
            traffic.settle(*arguments)  # type: ignore[arg-type]
        traffic.check()


@given(attempt=st.integers(1, 2000), draw=st.floats(0, 1, exclude_max=True), jitter=st.floats(0, 0.99))
def test_waits_stay_within_their_bounds(attempt: int, draw: float, jitter: float) -> None:
    options = BreakerOptions(open_s=2.0, open_max_s=60.0, jitter=jitter)
    least = min(2.0 * 2.0 ** min(attempt - 1, 10), 60.0) * (1 - jitter)
    assert least <= open_wait_s(attempt, options, draw=draw) + 1e-9
    assert open_wait_s(attempt, options, draw=draw) <= 60.0


def test_no_attempt_has_no_wait() -> None:
    with pytest.raises(ValueError, match="attempt"):
        open_wait_s(0, BreakerOptions(), draw=0.0)


@given(elapsed_s=st.floats(-10, 100), ramp_s=st.floats(0, 50))
def test_a_ramp_stays_between_its_start_and_all(elapsed_s: float, ramp_s: float) -> None:
    assert 0.1 <= ramp_share(elapsed_s, BreakerOptions(ramp_s=ramp_s)) <= 1.0


@given(windows=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=30))
def test_a_learned_rate_stays_within_its_bounds(windows: list[tuple[int, int]]) -> None:
    adaptive, usual = Adaptive(rate_min=0.2, rate_max=0.6), None
    for total, failed in windows:
        usual, rate = learn(usual, Counts(total, min(failed, total), 0), adaptive)
        assert 0.2 <= rate <= 0.6
        assert 0 <= usual <= 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"failure_rate": 0}, "failure_rate: expected a share above 0 and at most 1, saw 0"),
        ({"failure_rate": 1.01}, "failure_rate: expected a share above 0 and at most 1, saw 1.01"),
        ({"slow_rate": 0}, "slow_rate: expected a share"),
        ({"calls_min": 0}, "calls_min: expected 1 or more, saw 0"),
        ({"probes": 0}, "probes: expected 1 or more"),
        ({"open_s": float("inf")}, "open_s: expected a number above 0"),
        ({"open_s": 10.0, "open_max_s": 5.0}, "open_max_s: expected at least open_s = 10 s, saw 5 s"),
        ({"jitter": 1.0}, "jitter: expected a share from 0 up to but not 1"),
        ({"failures_in_row": 0}, "failures_in_row: expected 1 or more"),
    ],
)
def test_options_that_mean_nothing_are_refused_by_name(options: dict[str, float], said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        BreakerOptions(**options)  # type: ignore[arg-type]
    assert said in refused.value.message
