"""`node-affinity`: no node satisfies the pod's required affinity."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Field
from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.placement.worlds import affinity, faults, unplaced
from tests.sre.diagnosis.worlds import found, scheduling, without_node


def test_an_affinity_that_no_node_satisfies() -> None:
    world = unplaced({"labels": {"zone": "b"}}, affinity=affinity("zone", "In", "a"))
    assert faults(world) == ["node-affinity"]
    finding = found(world.snapshot(), "node-affinity")[0]
    assert finding.blames == (Field(Ref("Deployment", "oven"), "spec.template.spec.affinity.nodeAffinity"),)


def test_an_affinity_that_a_node_satisfies_is_not_blamed() -> None:
    world = unplaced({"labels": {"zone": "a"}}, affinity=affinity("zone", "In", "a"))
    assert not found(world.snapshot(), "node-affinity")


def test_a_closed_control_plane_is_no_candidate() -> None:
    world = without_node(affinity=affinity("state", "NotIn", "resting"))
    world.node("head", labels={"node-role.kubernetes.io/control-plane": ""}, unschedulable=True)
    world.node("node-0", labels={"state": "resting"})
    assert faults(world) == ["node-affinity"]


def test_an_affinity_to_a_nodes_name_is_judged() -> None:
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-z"]}]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    message = scheduling("1 node(s) didn't match Pod's node affinity/selector")
    world = without_node(message, affinity={"nodeAffinity": required})
    world.node("node-a")
    assert found(world.snapshot(), "node-affinity")
