"""`node-scheduler-down`: the host says so, or pods that would find a node wait without a word."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.nodes.worlds import NODE, hosted
from tests.sre.diagnosis.worlds import World, found


def test_a_host_that_says_that_its_scheduler_is_down() -> None:
    world = hosted("kube-scheduler", is_active=False)
    world.deployment("till", ready=0, node=None)
    finding = found(world.snapshot(), "node-scheduler-down")[0]
    assert (finding.object, finding.confidence) == (NODE, 0.98)
    assert finding.evidence[-1].source == "Pod/till-1-0"
    assert not found(hosted("kube-scheduler", is_active=True).snapshot(), "node-scheduler-down")


def test_pods_that_no_scheduler_looks_at() -> None:
    world = World()
    world.deployment("till", ready=0, node=None)
    world.node("node-a")
    world.node("head", labels={"node-role.kubernetes.io/control-plane": ""})
    assert not found(world.snapshot(), "node-scheduler-down")  # No events were recorded at all.
    world.event(Ref("Deployment", "till"), "ScalingReplicaSet", "Scaled up replica set till-1")
    assert found(world.snapshot(), "node-scheduler-down")[0].object == Ref("Node", "head")


def test_pods_that_no_node_would_take_do_not_tell_of_the_scheduler() -> None:
    world = World()
    world.deployment("till", ready=0, node=None, nodeSelector={"disk": "fast"})
    world.node("head", labels={"node-role.kubernetes.io/control-plane": ""})
    world.event(Ref("Deployment", "till"), "ScalingReplicaSet", "Scaled up replica set till-1")
    assert not found(world.snapshot(), "node-scheduler-down")
