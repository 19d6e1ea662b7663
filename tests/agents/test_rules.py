"""The planner: each agent after what it reads, and a failure closes whom its policy says and nobody else."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import InvalidDefinition
from holdfast.agents.rules import Link, Plan, Policy, Progress, State, Times, ends, plan, state_of, worst

POLICIES: tuple[Policy, ...] = ("fail", "degrade", "skip")
TIMES = Times(began_at=100.0, sign_at=100.0, timeout_s=30.0, lease_ttl_s=10.0)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Networks of up to 12 agents; their names in no order."""
    names = draw(st.permutations([f"a{number}" for number in range(draw(st.integers(1, 12)))]))
    pairs = [(source, target) for place, target in enumerate(names) for source in names[:place]]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    links = [Link(source, target, draw(st.sampled_from(POLICIES))) for source, target in chosen]
    policies = {name: draw(st.sampled_from(POLICIES)) for name in names}
    return plan("net", draw(st.permutations(names)), links, policies)


def closed_by(plan: Plan, failing: set[str]) -> tuple[set[str], set[str], set[str]]:
    """(finished, failed, skipped) where `failing` fail when they are reached: each agent judged from its inputs alone,
    in order. The model that `Progress` is compared with; it knows nothing of counting."""
    became: dict[str, str] = {}
    for name in plan.order:
        missing = [link for link in plan.inputs[name] if became[link.source] != "finished"]
        if any(link.policy != "degrade" for link in missing):
            became[name] = "skipped"
        else:
            became[name] = "failed" if name in failing else "finished"
    return tuple({name for name in became if became[name] == kind} for kind in ("finished", "failed", "skipped"))  # type: ignore[return-value]


class TestPlan:
    @given(plans())
    def test_each_agent_stands_after_all_that_it_reads(self, plan: Plan) -> None:
        place = {name: number for number, name in enumerate(plan.order)}
        layer = {name: number for number, names in enumerate(plan.layers) for name in names}
        assert sorted(place) == sorted(plan.inputs) == sorted(plan.outputs)
        for links in plan.inputs.values():
            for link in links:
                assert place[link.source] < place[link.target]
                assert layer[link.source] < layer[link.target]
        for name, links in plan.inputs.items():
            assert layer[name] == max((layer[link.source] + 1 for link in links), default=0)

    def test_a_ring_is_refused_and_named(self) -> None:
        links = [Link(*pair, "fail") for pair in (("in", "a"), ("a", "b"), ("b", "c"), ("c", "a"), ("c", "out"))]
        with pytest.raises(InvalidDefinition, match=r"a -> b -> c -> a|b -> c -> a -> b|c -> a -> b -> c"):
            plan("net", ["in", "a", "b", "c", "out"], links, {})

    def test_an_agent_that_reads_itself_is_a_ring(self) -> None:
        with pytest.raises(InvalidDefinition, match="a -> a"):
            plan("net", ["a"], [Link("a", "a", "fail")], {})

    @pytest.mark.parametrize(
        ("agents", "links", "policies", "words"),
        [
            ([], [], {}, "expected 1 to 10000 agents"),
            (["a", "a"], [], {}, "come twice: a"),
            (["a"], [Link("a", "ghost", "fail")], {}, "no agent ghost"),
            (["a"], [Link("ghost", "a", "fail")], {}, "no agent ghost"),
            (["a"], [], {"ghost": "skip"}, "no agent ghost"),
            (["a"], [], {"a": "shrug"}, "saw 'shrug'"),
            (["a", "b"], [Link("a", "b", "shrug")], {}, "saw 'shrug'"),  # type: ignore[arg-type]
            (["a", "b"], [Link("a", "b", "fail"), Link("a", "b", "skip")], {}, "there twice"),
        ],
    )
    def test_what_has_no_meaning_is_refused(
        self, agents: list[str], links: list[Link], policies: Mapping[str, Policy], words: str
    ) -> None:
        with pytest.raises(InvalidDefinition, match=words):
            plan("net", agents, links, policies)


class TestProgress:
    @given(plans(), st.data())
    def test_a_failure_closes_exactly_the_right_ones(self, plan: Plan, data: st.DataObject) -> None:
        """Whatever the order in which agents end: who is begun has what it reads, and what is finished, failed and
        skipped in the end is what the model says. With a fatal failure nobody new begins."""
        failing = set(data.draw(st.sets(st.sampled_from(plan.order))))
        progress = Progress(plan)
        under_way = list(progress.begin())
        begun = set(under_way)
        while under_way:
            agent = under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
            was_fatal = bool(progress.fatal)
            turn = progress.settle(agent, "failed" if agent in failing else "finished")
            for ready in turn.ready:
                assert ready not in begun
                for link in plan.inputs[ready]:
                    assert progress.became[link.source] == "finished" or link.policy == "degrade"
            assert not (turn.ready and (was_fatal or progress.fatal))
            begun |= set(turn.ready)
            under_way += turn.ready
        finished, failed, skipped = closed_by(plan, failing)
        became = {
            kind: {n for n, k in progress.became.items() if k == kind} for kind in ("finished", "failed", "skipped")
        }
        if any(plan.is_fatal(name) for name in failed):
            assert became["finished"] <= finished
            assert became["failed"] <= failed
            assert became["skipped"] <= skipped
            assert any(plan.is_fatal(name) for name in progress.fatal)
        else:
            assert (became["finished"], became["failed"], became["skipped"]) == (finished, failed, skipped)
            assert progress.is_complete == (not failed)

    @pytest.mark.parametrize(
        ("policy", "ready", "skipped", "fatal"),
        [("fail", (), ("b", "c"), ["a"]), ("degrade", ("b",), (), []), ("skip", (), ("b", "c"), [])],
    )
    def test_each_policy_does_what_it_says(
        self, policy: Policy, ready: tuple[str, ...], skipped: tuple[str, ...], fatal: list[str]
    ) -> None:
        line = plan("net", ["a", "b", "c"], [Link("a", "b", policy), Link("b", "c", "fail")], {})
        progress = Progress(line)
        assert progress.settle("a", "failed") == (ready, skipped)
        assert progress.fatal == fatal

    def test_an_edge_may_be_put_up_with_where_another_is_not(self) -> None:
        fork = plan("net", ["a", "b", "c"], [Link("a", "b", "degrade"), Link("a", "c", "skip")], {})
        assert Progress(fork).settle("a", "failed") == (("b",), ("c",))

    def test_a_skipped_agent_does_not_fail_its_network(self) -> None:
        """b is skipped, and its edge to c says fail: what was put up with is not held against it twice."""
        line = plan("net", ["a", "b", "c"], [Link("a", "b", "skip"), Link("b", "c", "fail")], {})
        progress = Progress(line)
        progress.settle("a", "failed")
        assert (progress.became["c"], progress.fatal) == ("skipped", [])

    def test_a_large_network_is_planned_at_once(self) -> None:
        """5 layers of 200, each reading all of the layer before: 160,000 edges, each looked at once."""
        layers = [[f"{layer}-{number}" for number in range(200)] for layer in range(5)]
        pairs = itertools.pairwise(layers)
        links = [Link(s, t, "fail") for before, after in pairs for s in before for t in after]
        whole = plan("net", [name for layer in layers for name in layer], links, {})
        progress = Progress(whole)
        under_way = list(progress.begin())
        for name in under_way:
            under_way += progress.settle(name, "finished").ready
        assert progress.is_complete


class TestOneCall:
    @pytest.mark.parametrize(
        ("changes", "over"),
        [
            ({}, (110.0, "silence")),
            ({"sign_at": 125.0}, (130.0, "timeout")),
            ({"hard_at": 105.0}, (105.0, "deadline")),
            ({"blocked_s": 3.0}, (113.0, "silence")),
            ({"blocked_s": 3.0, "hard_at": 105.0}, (105.0, "deadline")),
            ({"lease_ttl_s": math.inf}, (130.0, "timeout")),
        ],
    )
    def test_a_call_ends_at_the_first_of_its_times(self, changes: dict[str, float], over: tuple[float, str]) -> None:
        """A blocked loop is no fault of the call, and gives it time; the caller's own deadline stays."""
        assert ends(TIMES._replace(**changes)) == over

    @pytest.mark.parametrize(
        ("now", "changes", "facts", "state"),
        [
            (101.0, {}, {}, "alive"),
            (106.0, {}, {}, "slow"),
            (106.0, {"blocked_s": 4.0}, {}, "alive"),
            (111.0, {}, {}, "dead"),
            (111.0, {"blocked_s": 4.0}, {}, "slow"),
            (103.0, {}, {"is_blocking": True}, "loop-blocked"),
            (103.0, {"ending_at": 102.5}, {}, "alive"),
            (103.5, {"ending_at": 102.5}, {}, "dead"),
            (103.5, {"ending_at": 102.5}, {"in_thread": True}, "thread-stuck"),
        ],
    )
    def test_a_call_is_in_one_of_five_states(
        self, now: float, changes: dict[str, float], facts: dict[str, bool], state: State
    ) -> None:
        given = {"is_blocking": False, "in_thread": False} | facts
        assert state_of(TIMES._replace(**changes), now=now, slow_s=5.0, grace_s=1.0, **given) == state

    def test_the_gravest_state_counts(self) -> None:
        assert worst([]) == "alive"
        assert worst(["slow", "dead", "alive"]) == "dead"
