"""Who is ill and who only suffers, on graphs small enough to draw."""

from __future__ import annotations

import pytest

from holdfast.errors import InvalidDefinition, InvalidInput
from holdfast.resilience.graph import Dependency, Graph
from holdfast.resilience.healing import Ill, admits, plan, share_of_way
from holdfast.resilience.rules import Breaker, Incident, Standing, blocked_by, incidents, standings, suspects_itself

OPEN, PROBING, WELL = Breaker("open"), Breaker("half_open"), Breaker()
DUE = Ill(is_due=True, rounds=1)

CHAIN = Graph([
    Dependency(name="app", kind="agent", needs=("agent",)),
    Dependency(name="agent", kind="agent", needs=("llm",), wants=("cache",)),
    Dependency(name="llm", kind="llm"),
    Dependency(name="cache", kind="redis"),
])  # fmt: skip
DIAMOND = Graph([
    Dependency(name="leaf", kind="database"),
    Dependency(name="left", needs=("leaf",)),
    Dependency(name="right", needs=("leaf",)),
    Dependency(name="top", needs=("left", "right")),
])  # fmt: skip


class TestBuilding:
    def test_a_ring_of_hard_edges_is_refused_with_its_way(self) -> None:
        with pytest.raises(InvalidDefinition, match="a -> b -> a; make one of these edges soft"):
            Graph([Dependency(name="a", needs=("b",)), Dependency(name="b", needs=("a",))])

    def test_a_ring_of_soft_edges_is_not(self) -> None:
        assert len(Graph([Dependency(name="a", wants=("b",)), Dependency(name="b", wants=("a",))])) == 2

    def test_an_edge_to_nobody_names_who_there_is(self) -> None:
        with pytest.raises(InvalidDefinition, match="dependency a: lmm is not declared; there are a, llm"):
            Graph([Dependency(name="a", needs=("lmm",)), Dependency(name="llm")])

    def test_a_name_given_twice_is_refused(self) -> None:
        with pytest.raises(InvalidDefinition, match="dependency a: declared twice"):
            Graph([Dependency(name="a"), Dependency(name="a")])

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"kind": "lmm"}, "expected a kind of llm, database, redis, http, agent, saw 'lmm'"),
            ({"needs": "db"}, r'expected needs to be names, such as \["db"\]'),
            ({"needs": ["db"], "wants": ["db"]}, "needs and wants db"),
            ({"recovery_s": 0}, "expected recovery_s above 0, saw 0"),
        ],
    )
    def test_what_means_nothing_is_refused(self, wrong: dict[str, object], message: str) -> None:
        with pytest.raises(InvalidInput, match=message):
            Dependency(name="a", **wrong)  # type: ignore[arg-type]

    def test_the_longest_wait_leaves_half_of_the_objective(self) -> None:
        assert Dependency(name="llm", kind="llm", recovery_s=30).breaker_options.open_max_s == 15


class TestBlame:
    def test_only_the_root_is_ill(self) -> None:
        assert standings(CHAIN, {"llm": OPEN}) == {
            "llm": Standing("ill"),
            "cache": Standing(),
            "agent": Standing("blocked", ("llm",)),
            "app": Standing("blocked", ("llm",)),
        }

    def test_what_is_only_wanted_degrades(self) -> None:
        found = standings(CHAIN, {"cache": OPEN})
        assert (found["agent"], found["app"]) == (Standing("degraded", ("cache",)), Standing())

    def test_the_blame_goes_to_the_deepest(self) -> None:
        assert blocked_by(CHAIN, {"llm": OPEN, "agent": OPEN}, "app") == ("llm",)

    def test_it_stays_until_the_root_is_closed(self) -> None:
        assert blocked_by(CHAIN, {"llm": PROBING}, "app") == ("llm",)
        assert blocked_by(CHAIN, {"llm": Breaker("closed", share=0.1)}, "app") == ()


class TestIncidents:
    def test_five_under_one_ancestor_are_one(self) -> None:
        graph = Graph([Dependency(name="db"), *(Dependency(name=f"a{n}", needs=("db",)) for n in range(5))])
        opened = [(f"a{n}", float(n)) for n in range(5)]
        assert incidents(graph, opened) == [Incident("db", ("a0", "a1", "a2", "a3", "a4"))]

    def test_those_far_apart_or_unrelated_are_several(self) -> None:
        opened = [("llm", 0.0), ("cache", 1.0), ("agent", 60.0)]
        assert [incident.root for incident in incidents(CHAIN, opened)] == ["llm", "cache", "agent"]

    def test_many_unrelated_ones_are_a_sign_of_our_own(self) -> None:
        graph = Graph([*(Dependency(name=f"d{n}") for n in range(5)), Dependency(name="a", needs=("d0",))])
        assert suspects_itself(graph, {f"d{n}": OPEN for n in range(3)})
        assert not suspects_itself(graph, {"d0": OPEN, "d1": OPEN, "a": OPEN})


class TestPlan:
    def test_roots_are_probed_first(self) -> None:
        planned = plan(CHAIN, {"llm": OPEN, "agent": OPEN}, {"llm": DUE, "agent": DUE})
        assert (planned.probe, planned.blocked) == (("llm",), {"agent": ("llm",)})

    def test_the_leaf_of_a_diamond_is_probed_once(self) -> None:
        everybody = dict.fromkeys(DIAMOND.order, OPEN)
        ill = dict.fromkeys(DIAMOND.order, DUE)
        assert plan(DIAMOND, everybody, ill).probe == ("leaf",)
        assert plan(DIAMOND, {**everybody, "leaf": WELL}, ill).probe == ("left", "right")

    def test_no_more_are_probed_at_once_than_there_are_places(self) -> None:
        graph = Graph([Dependency(name=f"d{n}") for n in range(6)])
        states = {**{f"d{n}": OPEN for n in range(6)}, "d5": PROBING}
        assert plan(graph, states, {f"d{n}": DUE for n in range(5)}, probing_max=3).probe == ("d0", "d1")

    def test_whoever_is_needed_by_most_is_first(self) -> None:
        graph = Graph([Dependency(name="lone"), Dependency(name="db"), Dependency(name="a", needs=("db",))])
        ill = {"lone": DUE, "db": DUE}
        assert plan(graph, {"lone": OPEN, "db": OPEN}, ill, probing_max=1).probe == ("db",)

    def test_who_failed_too_often_sleeps(self) -> None:
        planned = plan(CHAIN, {"llm": OPEN}, {"llm": Ill(is_due=True, rounds=11)}, rounds_max=10)
        assert (planned.probe, planned.dormant) == ((), ("llm",))

    def test_people_come_first_and_the_background_last(self) -> None:
        assert [[load for load in ("people", "remediation", "background") if admits(share, load)]
                for share in (0.0, 0.1, 0.5, 1.0)] == [  # type: ignore[arg-type]
            [], ["people"], ["people", "remediation"], ["people", "remediation", "background"],
        ]  # fmt: skip

    def test_a_way_takes_what_its_narrowest_part_takes(self) -> None:
        breakers = {"llm": Breaker("closed", share=0.2), "agent": Breaker("closed", share=0.6)}
        assert [share_of_way(CHAIN, breakers, name) for name in ("app", "llm", "cache")] == [0.2, 0.2, 1.0]
