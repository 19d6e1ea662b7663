"""`network-loss-node`: a node sends much again for the latency that services show."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import chain, found


def test_many_retransmissions_for_the_latency_are_loss() -> None:
    world = chain()
    world.signal("shop", "latency", 400.0, 10.0, pct=50)
    world.signal("node-a", "retransmissions", 9.0, 0.0, of="Node")
    finding = found(world.snapshot(), "network-loss-node")[0]
    assert finding.object == Ref("Node", "node-a")
    assert found(world.snapshot(), "network-delay-pod")[0].confidence < finding.confidence


def test_many_retransmissions_without_a_late_service_are_doubted() -> None:
    world = chain()
    world.signal("node-a", "retransmissions", 9.0, 0.0, of="Node")
    assert found(world.snapshot(), "network-loss-node")[0].confidence == 0.5


def test_a_node_that_sends_hardly_anything_again_loses_nothing() -> None:
    world = chain()
    world.signal("shop", "latency", 400.0, 10.0)
    world.signal("node-a", "retransmissions", 0.1, 0.0, of="Node")
    assert not found(world.snapshot(), "network-loss-node")
