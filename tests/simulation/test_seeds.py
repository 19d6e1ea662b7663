"""A minute of seeds: every promise holds, every kind of trouble is seen to happen, and a seed repeats itself."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.testing.simulation import Plan, Trouble, carry_out, drawn_plan, simulate
from holdfast.testing.simulation.agreement import disagreements

SEEDS = 100
COMPARED_EVERY = 25


def test_every_promise_holds_and_every_trouble_is_seen(tmp_path: Path) -> None:
    seen = Counter[Trouble]()
    files = len(os.listdir("/proc/self/fd"))
    for seed in range(SEEDS):
        report = simulate(seed).check()
        seen += report.seen
        if seed % COMPARED_EVERY == 0:
            folder = tmp_path / str(seed)
            folder.mkdir()
            assert disagreements(report, folder) == [], report
    assert set(seen) == set(Trouble), seen
    assert len(os.listdir("/proc/self/fd")) == files, "a connection was left open"


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.builds(drawn_plan, st.randoms(use_true_random=False)))
def test_every_promise_holds_in_plans_that_can_shrink(plan: Plan) -> None:
    carry_out(plan).check()


@pytest.mark.parametrize("seed", [3, 8])
def test_the_same_seed_gives_the_same_world(seed: int) -> None:
    first, second = simulate(seed), simulate(seed)
    assert first == second
    assert first.calls != simulate(seed + 1).calls
