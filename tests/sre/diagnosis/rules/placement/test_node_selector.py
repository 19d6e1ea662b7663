"""`node-selector`: no node satisfies the pod's node selector."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Field
from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.placement.worlds import FAST, faults, unplaced
from tests.sre.diagnosis.worlds import found, scheduling, without_node

UNMATCHED = scheduling("3 node(s) didn't match Pod's node affinity/selector")


def test_a_selector_that_no_node_satisfies() -> None:
    world = unplaced({}, {}, **FAST)
    assert faults(world) == ["node-selector"]
    finding = found(world.snapshot(), "node-selector")[0]
    assert finding.blames == (Field(Ref("Deployment", "oven"), "spec.template.spec.nodeSelector"),)


def test_a_pod_that_was_placed_since_has_no_fault() -> None:
    world = without_node(node="node-0", **FAST)
    world.node("node-0")
    assert not found(world.snapshot(), "node-selector")


def test_a_pod_that_would_fit_by_now_has_no_fault() -> None:
    assert faults(unplaced({"labels": {"disk": "fast"}}, **FAST)) == []


def test_a_message_of_what_was_asked_for_before_is_no_finding() -> None:
    world = without_node(UNMATCHED)
    world.node("node-a")
    assert not found(world.snapshot(), "node-selector")


def test_without_nodes_the_message_decides_and_without_a_message_the_nodes() -> None:
    assert found(without_node(UNMATCHED, **FAST).snapshot(), "node-selector")[0].confidence == 0.95
    seen = without_node(None, **FAST)
    seen.node("node-a")
    assert found(seen.snapshot(), "node-selector")[0].confidence == 0.6
