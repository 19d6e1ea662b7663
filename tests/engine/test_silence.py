"""How long recovered runs had nobody: the spread of many times."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.workflow.process.silence import Silences, Spread

TIMES = st.lists(st.floats(0, 1e6), min_size=1, max_size=50)


def test_of_nothing_there_is_no_spread() -> None:
    assert Silences().spread() is None


def test_spread_of_a_hundred_and_one() -> None:
    silences = Silences()
    for number in reversed(range(101)):
        silences.add(float(number))
    assert silences.spread() == Spread(101, 0.0, 50.0, 95.0, 100.0)
    assert "101 runs recovered: the first after 0.00 s, half within 50.00 s" in str(silences.spread())


@given(TIMES, st.integers(1, 20))
def test_the_oldest_are_forgotten_and_the_rest_is_in_order(times: list[float], kept_max: int) -> None:
    silences = Silences(kept_max=kept_max)
    for seconds in times:
        silences.add(seconds)
    kept = sorted(times[-kept_max:])
    spread = silences.spread()
    assert spread is not None
    assert (spread.count, spread.first_s, spread.last_s) == (len(kept), kept[0], kept[-1])
    assert spread.first_s <= spread.median_s <= spread.p95_s <= spread.last_s
