"""Scores against labels and against known repairs."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.evaluation.calibration import applied, bins, fit, left_out
from holdfast_sre.evaluation.evaluate import Leaf, Repair, judge_repair, report, report_repairs
from holdfast_sre.evaluation.judged import Judged, score
from holdfast_sre.evaluation.opsbench_labels import Answer

OOM, PORT = Answer("oom", "app/a"), Answer("port", "app/a")


def judged(truth: Answer, *answers: Answer, case: str = "sys/cat/1", confidence: float = 1.0) -> Judged:
    sure = tuple(round(confidence - 0.1 * index, 2) for index in range(len(answers)))
    return Judged(case, truth, answers, tuple(answer.root_cause for answer in answers), sure, 0.1)


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


def test_bins_tell_how_often_what_is_said_holds() -> None:
    found = bins([judged(OOM, OOM, confidence=0.95), judged(OOM, PORT, confidence=0.91), judged(OOM)])
    assert [(item.upto, item.cases, item.confidence, item.right) for item in found] == [(1.0, 2, 0.93, 0.5)]


def test_a_rule_that_was_often_wrong_elsewhere_comes_after_its_rival() -> None:
    elsewhere = [judged(OOM, PORT, OOM, confidence=0.9) for _ in range(20)]
    case = judged(OOM, PORT, OOM, confidence=0.9)
    again = applied(case, fit(elsewhere))
    assert again.answers == (OOM, PORT)
    assert again.confidences[0] > 0.9 > 0.5 > again.confidences[1]


def test_what_was_seen_nowhere_else_keeps_its_confidence() -> None:
    case = judged(OOM, OOM, PORT, confidence=0.8)
    assert applied(case, fit([])) == case


def test_each_system_is_judged_with_what_the_others_taught() -> None:
    """The one system teaches to doubt the rule that is right in the other: that is the loss which is told."""
    teaching = [judged(OOM, PORT, OOM, case="x/c/1", confidence=0.9) for _ in range(20)]
    own = [judged(PORT, PORT, OOM, case="y/c/1", confidence=0.9)]
    found = left_out([*teaching, *own])
    assert found["y"].lost == 1.0
    assert found["y"].score.first == 0.0
    assert left_out(own) == {}


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
