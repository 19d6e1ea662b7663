"""A server's clock, as a process knows it from its answers."""

from __future__ import annotations

import pytest

from holdfast.clock import monotonic_s, system_time_s
from holdfast.store.servers.clock import SAMPLE_LASTS_S, ServerTime
from holdfast.testing.conformance import StepClock


def test_until_the_server_answers_it_is_this_machines_clock() -> None:
    assert ServerTime().now_s() == pytest.approx(system_time_s(), abs=5.0)


def test_an_answer_sets_it_and_it_goes_on_by_itself() -> None:
    time = ServerTime()
    now = monotonic_s()
    time.learn(5_000.0, asked_at_s=now - 0.2, answered_at_s=now)
    first = time.now_s()
    assert first == pytest.approx(5_000.1, abs=1.0)
    assert time.now_s() >= first


def test_the_answer_with_the_shortest_way_is_believed() -> None:
    time = ServerTime()
    now = monotonic_s()
    time.learn(5_000.0, asked_at_s=now - 0.01, answered_at_s=now)
    time.learn(9_000.0, asked_at_s=now - 3.0, answered_at_s=now)
    assert time.now_s() == pytest.approx(5_000.0, abs=2.0)
    time.learn(7_000.0, asked_at_s=now - 0.005, answered_at_s=now)
    assert time.now_s() == pytest.approx(7_000.0, abs=2.0)


def test_an_old_answer_gives_way_to_any_new_one() -> None:
    """Or a clock that was set at the server would never be heard of."""
    time = ServerTime()
    now = monotonic_s()
    time.learn(5_000.0, asked_at_s=now - 0.01 - 2 * SAMPLE_LASTS_S, answered_at_s=now - 2 * SAMPLE_LASTS_S)
    time.learn(9_000.0, asked_at_s=now - 1.0, answered_at_s=now)
    assert time.now_s() == pytest.approx(9_000.5, abs=2.0)


def test_a_given_clock_stands_in_for_it() -> None:
    clock = StepClock(17.0)
    time = ServerTime(clock)
    time.learn(5_000.0, asked_at_s=0.0, answered_at_s=1.0)
    assert (time.is_given, time.now_s()) == (True, 17.0)
