"""`network-loss-pod`: the pods of one service send much again, and their node does not."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import found, measured_chain


def test_the_pods_of_a_service_that_send_again_lose_packets() -> None:
    world = measured_chain(("till", 5, 300))
    world.measure("till", "retransmissions", 0.0, 6.0)
    assert found(world.snapshot(), "network-loss-pod")[0].object == Ref("Deployment", "till")


def test_where_the_node_sends_again_its_pods_are_not_blamed() -> None:
    world = measured_chain(("till", 5, 300))
    world.measure("till", "retransmissions", 0.0, 6.0)
    world.measure("node-a", "retransmissions", 0.0, 7.0, of="Node")
    assert not found(world.snapshot(), "network-loss-pod")
    assert found(world.snapshot(), "network-loss-node")[0].object == Ref("Node", "node-a")
