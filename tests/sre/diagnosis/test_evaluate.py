"""Scores against labels and against known repairs."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.evaluation.evaluate import Judged, Leaf, Repair, judge_repair, report, report_repairs, score
from holdfast_sre.evaluation.opsbench_labels import Answer

OOM, PORT = Answer("oom", "app/a"), Answer("port", "app/a")


def judged(truth: Answer, *answers: Answer, case: str = "sys/cat/1", confidence: float = 1.0) -> Judged:
    return Judged(case, truth, answers, confidence, 0.1)


def test_shares_count_first_first_three_and_object() -> None:
    other = Answer("oom", "app/b")
    found = score([judged(OOM, OOM), judged(OOM, PORT, OOM), judged(OOM, other, other, other, OOM), judged(OOM)])
    assert (found.cases, found.first, found.first_three, found.object_first) == (4, 0.25, 0.5, 0.5)


def test_brier_rewards_honest_doubt() -> None:
    assert score([judged(OOM, OOM, confidence=0.9)]).brier == 0.01
    assert score([judged(OOM, PORT, confidence=0.9)]).brier == 0.81


def test_the_report_is_by_system_and_class_and_lists_misses() -> None:
    found = report([judged(OOM, OOM, case="x/c/1"), judged(PORT, OOM, case="y/c/2")])
    assert {name: part.first for name, part in found.systems.items()} == {"x": 1.0, "y": 0.0}
    assert {name: part.first for name, part in found.classes.items()} == {"oom": 1.0, "port": 0.0}
    assert [miss.case for miss in found.misses] == ["y/c/2"]


KNOWN = Repair(app="a", diffs=(Leaf("D/a.x", faulty="1", healthy="2"), Leaf("D/a.y", faulty="5", healthy=None)))


def test_a_repair_needs_every_leaf_that_the_last_good_proves() -> None:
    x, y = Change("D/a", "x", "1", "2"), Change("D/a", "y", "5", None)
    assert judge_repair("c", [x, y], KNOWN, {"D/a.x": "2"}).verdict == "restored"
    assert judge_repair("c", [x], KNOWN, {"D/a.x": "2"}).missed == ("D/a.y",)
    assert judge_repair("c", [y], KNOWN, {"D/a.x": "9"}).verdict == "restored"  # x is drift in the last good
    assert judge_repair("c", [], KNOWN, {"D/a.x": "9", "D/a.y": "9"}).verdict == "not restored"


def test_a_change_of_a_sound_leaf_is_collateral() -> None:
    z = Change("D/a", "z", "1", "2")
    assert judge_repair("c", [z], KNOWN, None).collateral == ("D/a.z",)


def test_where_no_repair_is_known_a_person_is_right() -> None:
    z = Change("D/a", "z", "1", "2")
    cases = [judge_repair("c", [], None, None), judge_repair("d", [z], None, None)]
    found = report_repairs(cases)
    assert (found.others, found.rightly_escalated, found.collateral_leaves) == (2, 0.5, 1)
    assert [miss.case for miss in found.misses] == ["d"]
