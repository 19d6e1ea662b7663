"""A minute of seeds: every promise holds, every kind of trouble is seen to happen, and a seed repeats itself."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.clock import seeded_randomness
from holdfast.locks import LOCK
from holdfast.store.contract.records import ABSENT, Claim, Put
from holdfast.testing.simulation import Plan, Report, Scenario, Trouble, carry_out, drawn_plan, simulate
from holdfast.testing.simulation.agreement import disagreements
from holdfast.testing.simulation.draws import Deed
from holdfast.workflow.model.run import PARENT, RUN, SIGNAL
from holdfast.workflow.model.schedule import SCHEDULE
from tests.simulation.broken import holding_a_lock, one_state

SEEDS = 100
COMPARED_EVERY = 25
AMONG_USERS_SEEDS = 40


MET = ("repeated", "taken from the dead", "children", "due times", "locks awaited", "signals left")
AMONG_USERS = (
    "counted",
    "transferred",
    "restored",
    "ordered",
    "published",
    "followed",
    "networks",
    "agents that failed",
)
"""What the checkers are for: where nothing of it comes up, they find nothing."""


def what_was_done(report: Report) -> Counter[str]:
    """How often the calls of a simulation were what its checkers are for."""
    done = Counter[str]()
    for call in report.calls:
        if isinstance(call.answer, str):
            continue
        if isinstance(call.asked, Claim):
            is_of_dead = call.asked.owner and not {"", call.asked.owner} & set(call.asked.from_owners)
            done["taken from the dead"] += len(call.answer) if is_of_dead and isinstance(call.answer, tuple) else 0
            continue
        for write in call.asked.writes:
            if not isinstance(write, Put):
                continue
            is_new_run = write.key.kind == RUN and write.expect == ABSENT
            done["children"] += is_new_run and PARENT in write.labels
            done["due times"] += is_new_run and SCHEDULE in write.labels
            done["locks awaited"] += write.key.kind == LOCK and write.status == "queued"
            done["signals left"] += write.key.kind == SIGNAL and write.status == "new"
    return done


def test_every_promise_holds_and_every_trouble_is_seen(tmp_path: Path) -> None:
    seen = Counter[Trouble]()
    met = Counter[str]()
    files = len(os.listdir("/proc/self/fd"))
    for seed in range(SEEDS):
        report = simulate(seed).check()
        seen += report.seen
        met += Counter({"repeated": report.repeated}) + what_was_done(report)
        if seed % COMPARED_EVERY == 0:
            folder = tmp_path / str(seed)
            folder.mkdir()
            assert disagreements(report, folder) == [], report
    assert set(seen) == set(Trouble), seen
    assert all(met[each] for each in MET), met
    assert len(os.listdir("/proc/self/fd")) == files, "a connection was left open"


def test_users_agents_and_shared_state_keep_every_promise_too() -> None:
    """Seeds in which users always do something beside runs, and what they do is seen to be done; the nodes crash, and
    answers are lost, while they do it."""
    met, seen = Counter[str](), Counter[Trouble]()
    for seed in range(AMONG_USERS_SEEDS):
        report = simulate(seed, Scenario(alone=0.0)).check()
        met += report.met
        seen += report.seen
    assert all(met[each] for each in AMONG_USERS), met
    assert all(seen[each] for each in (Trouble.CRASH, Trouble.STALL, Trouble.LOSE_AFTER, Trouble.FLAKY)), seen


def test_the_seeds_of_every_day_have_such_users_as_well() -> None:
    plans = [drawn_plan(seeded_randomness(seed)) for seed in range(SEEDS)]
    with_acts = [plan for plan in plans if plan.acts]
    assert SEEDS * 0.1 < len(with_acts) < SEEDS * 0.4
    assert {act.deed for plan in with_acts for act in plan.acts} == set(Deed)


@pytest.mark.parametrize("seed", [200276, 205058, 205260])
def test_what_is_right_is_not_called_wrong(seed: int) -> None:
    """A node that is to close and stands still, a stream without an event, an update that stands for two: at these
    seeds the judges once were wrong."""
    simulate(seed).check()


@pytest.mark.parametrize("seed", [201295, 201396, 204068, 206139, 207485, 207540, 209881])
def test_what_was_found_once_is_not_found_again(seed: int) -> None:
    """A writer of shared state that outlived its manager, a run that nobody called for its lock since its former actor
    unsaid it, a failed run that a late result set going again, a paused one that asked for its
    lock, two suspects that waited for each other."""
    simulate(seed).check()


def test_late_tokens_come_to_the_world_and_are_refused() -> None:
    """Who sleeps with a lock in his hand wakes when it is another's, and says what he had to say."""
    scenario = Scenario(make=one_state(holding_a_lock, lock=lambda _: ("resource", "desk")), troubles=(Trouble.OUST,))
    refused = 0
    for seed in range(SEEDS):
        refused += simulate(seed, scenario).check().refused
        if refused >= 2:
            break
    assert refused >= 2


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.builds(drawn_plan, st.randoms(use_true_random=False)))
def test_every_promise_holds_in_plans_that_can_shrink(plan: Plan) -> None:
    carry_out(plan).check()


@pytest.mark.parametrize(("seed", "alone"), [(3, 1.0), (8, 1.0), (4, 0.0), (7, 0.0)])
def test_the_same_seed_gives_the_same_world(seed: int, alone: float) -> None:
    scenario = Scenario(alone=alone)
    first, second = simulate(seed, scenario), simulate(seed, scenario)
    assert bool(first.met) == (alone == 0.0)
    assert first == second
    assert first.calls != simulate(seed + 1, scenario).calls
