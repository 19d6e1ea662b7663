"""The simulation is tested, too: a bug planted for each checker is found by it, within few seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from holdfast import UserStreams
from holdfast.store.memory import MemoryStore
from holdfast.testing.simulation import HEAL_S, Plan, Report, Scenario, Trouble, carry_out, drawn_plan, simulate
from holdfast.testing.simulation.agreement import disagreements
from tests.simulation import broken

SEEDS_MAX = 80


def on(store: type[MemoryStore], *troubles: Trouble) -> Scenario:
    """Random workflows on a store with a bug, with these troubles only, if any are named."""
    return Scenario(store=lambda clock: store(clock=clock), troubles=troubles or tuple(Trouble))


def among_users(**options: Any) -> Scenario:
    """Every seed has users who do something beside runs, and little else goes wrong."""
    if (store := options.pop("on", None)) is not None:
        options["store"] = lambda clock: store(clock=clock)
    return Scenario(alone=0.0, troubles=(Trouble.CRASH, Trouble.LOSE_AFTER), **options)


def streams(kind: type[UserStreams]) -> Scenario:
    """The same with these streams."""
    return among_users(desk=broken.desk_of(kind))


def found(scenario: Scenario, words: str) -> Report | None:
    """The first report in which some problem has these words."""
    reports = (simulate(seed, scenario) for seed in range(SEEDS_MAX))
    return next((report for report in reports if any(words in problem for problem in report.problems)), None)


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        pytest.param(on(broken.WritesTwice), "expected version", id="versions"),
        pytest.param(on(broken.ForgetsDeltas), "its journal tells another state", id="state is the fold of its events"),
        pytest.param(on(broken.GoesBack), "no events lead", id="transitions"),
        pytest.param(on(broken.MovesOn), "though nobody resumed it", id="runs that stand still"),
        pytest.param(on(broken.SparesTokens), "has two holders", id="tokens"),
        pytest.param(on(broken.ForgetsTokens), "expected tokens from", id="tokens that grow"),
        pytest.param(on(broken.GrantsToAll), "are both granted", id="locks that exclude each other"),
        pytest.param(on(broken.ClaimsQuietly), "has two holders", id="epochs"),
        pytest.param(on(broken.ForgetsEpochs), "expected a token of at least", id="epochs that grow"),
        pytest.param(on(broken.ForgetsWhoOwns, Trouble.OUST), "owns the run since epoch", id="the epoch of a run"),
        pytest.param(
            on(broken.TakesMemosOfAnybody, Trouble.OUST), "owns the run since epoch", id="the epoch behind a memo"
        ),
        pytest.param(on(broken.TakesNothing), "owns the run since epoch", id="writers"),
        pytest.param(on(broken.LosesTheWait), "began without its parent", id="relatives"),
        pytest.param(on(broken.SkipsTurns), "expected a run for each of", id="due times of schedules"),
        pytest.param(on(broken.HidesSchedules), "stands still since", id="schedules that go on"),
        pytest.param(on(broken.LeavesGaps), "stream of", id="streams"),
        pytest.param(on(broken.ReadsAcrossUsers), "was shown to", id="reads across users"),
        pytest.param(on(broken.ScansAcrossUsers), "was shown to", id="scans across users"),
        pytest.param(on(broken.ReadsThePast), "and then", id="nobody sees the past after the present"),
        pytest.param(on(broken.HidesRuns), "not listed for", id="lists"),
        pytest.param(on(broken.LeavesDamage), "digest", id="a sound store"),
        pytest.param(on(broken.KeepsLeases), "lease left over", id="leases"),
        pytest.param(on(broken.KeepsOwners), "has an owner still", id="owners"),
        pytest.param(on(broken.KeepsLocks), "though all runs have ended", id="locks"),
        pytest.param(on(broken.ForgetsRuns), "what was begun is gone", id="acknowledged runs"),
        pytest.param(on(broken.IgnoresOwners), "", id="a stalled owner's late write"),
        pytest.param(Scenario(make=broken.one_state(broken.changing_key)), "and again with", id="effects"),
        pytest.param(
            Scenario(make=broken.one_state(broken.remembering_its_token, lock=lambda _: ("resource", "desk"))),
            ", and in ",
            id="tokens shown by an attempt",
        ),
        pytest.param(among_users(on=broken.LosesIncrements), "after as many updates", id="increments that are folded"),
        pytest.param(among_users(on=broken.AcknowledgesNothing), "increments, saw", id="acknowledged increments"),
        pytest.param(among_users(on=broken.TransfersHalf), "in both, saw", id="transactions over objects"),
        pytest.param(among_users(on=broken.ChangesReceipts), "gave the receipt", id="tool calls with a key"),
        pytest.param(among_users(world=broken.LosesEffects), "never came", id="effects of agents"),
        pytest.param(among_users(world=broken.LosesEffects), "order", id="effects of tools"),
        pytest.param(among_users(on=broken.ChangesResults), "network of", id="results of agents"),
        pytest.param(among_users(on=broken.SkipsEvents), "was given a snapshot", id="streams without gaps"),
        pytest.param(streams(broken.RepeatsEvents), "of his stream, was given", id="streams in order"),
        pytest.param(streams(broken.ShowsOthers), "was given an event of bob", id="streams of others"),
        pytest.param(streams(broken.TellsAnotherPlace), ", where there is", id="where events were published"),
        pytest.param(streams(broken.RenamesEvents), "read another stream", id="what streams tell"),
        pytest.param(Scenario(make=broken.one_state(broken.making_up_a_token)), " and by ", id="tokens shown"),
        pytest.param(Scenario(make=broken.one_state(broken.leaving_a_task)), "task left over", id="tasks"),
        pytest.param(
            Scenario(make=broken.one_state(broken.waiting_for_ever)), f"not done {HEAL_S:g} s", id="convergence"
        ),
        pytest.param(Scenario(make=broken.one_state(broken.turning_in_circles)), "no time passed", id="livelock"),
    ],
)
def test_planted_bug_is_found(scenario: Scenario, words: str) -> None:
    report = found(scenario, words)
    assert report is not None
    with pytest.raises(AssertionError, match=rf"(?s)problems in.*{report.plan.name}.*Beginning\("):
        report.check()


def test_a_store_that_answers_differently_is_found(tmp_path: Path) -> None:
    report = simulate(1, Scenario(troubles=()))
    assert disagreements(report, tmp_path) == []
    assert disagreements(report, tmp_path / "..", model=lambda clock: broken.RoundsDues(clock=clock)) != []


def test_what_hypothesis_finds_is_told_with_every_draw_and_can_be_repeated() -> None:
    """The error that a test ends with: all that the plan drew, from which the same world comes again."""
    scenario = Scenario(make=broken.one_state(broken.changing_key))
    failing: list[Plan] = []

    @settings(max_examples=100, phases=[Phase.generate], database=None, derandomize=True, deadline=None)
    @given(st.builds(drawn_plan, st.randoms(use_true_random=False), troubles=st.just((Trouble.FLAKY,))))
    def keeps_every_promise(plan: Plan) -> None:
        report = carry_out(plan, scenario)
        if report.problems:
            failing.append(plan)
        report.check()

    with pytest.raises(AssertionError, match="and again with") as caught:
        keeps_every_promise()
    plan = failing[-1]
    words = str(caught.value)
    drawn = [f"{plan.nodes} nodes of {plan.places} places, order {plan.order}, shape {plan.shape}"]
    assert [each for each in (*drawn, *map(str, plan.beginnings), *map(str, plan.strikes)) if each not in words] == []
    again = carry_out(Plan(plan.nodes, plan.places, plan.beginnings, plan.strikes, plan.shape, plan.order), scenario)
    assert str(again) == words


@pytest.mark.long
def test_hypothesis_shrinks_a_failure_to_the_trouble_that_makes_it() -> None:
    scenario = Scenario(make=broken.one_state(broken.changing_key))

    def is_bad(plan: Plan) -> bool:
        is_flaky = any(strike.trouble is Trouble.FLAKY for strike in plan.strikes)
        return is_flaky and any("and again with" in problem for problem in carry_out(plan, scenario).problems)

    troubles = (Trouble.REFUSE, Trouble.CRASH, Trouble.FLAKY)
    plans = st.randoms(use_true_random=False).map(lambda chance: drawn_plan(chance, troubles=troubles))
    plan = find(
        plans,
        is_bad,
        settings=settings(
            max_examples=200,
            phases=[Phase.generate, Phase.shrink],
            database=None,
            derandomize=True,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert plan.nodes == 1
    assert [strike.trouble for strike in plan.strikes] == [Trouble.FLAKY]
