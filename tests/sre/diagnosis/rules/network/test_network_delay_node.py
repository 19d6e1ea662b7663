"""`network-delay-node`: a node sends little again for the latency that services show."""

from __future__ import annotations

import pytest

from holdfast_sre.diagnosis.diagnose import diagnose
from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import chain, found, measured_chain


def test_few_retransmissions_for_the_latency_are_delay() -> None:
    world = chain()
    world.signal("shop", "latency", 9000.0, 10.0, pct=50)
    world.signal("node-a", "retransmissions", 0.9, 0.0, of="Node")
    finding = found(world.snapshot(), "network-delay-node")[0]
    assert finding.object == Ref("Node", "node-a")
    assert found(world.snapshot(), "network-delay-pod")[0].confidence < finding.confidence


def test_a_node_that_sends_hardly_anything_again_is_well() -> None:
    world = chain()
    world.signal("shop", "latency", 400.0, 10.0)
    world.signal("node-a", "retransmissions", 0.1, 0.0, of="Node")
    assert not found(world.snapshot(), "network-delay-node")


def test_many_retransmissions_are_another_matter() -> None:
    world = chain()
    world.signal("shop", "latency", 400.0, 10.0, pct=50)
    world.signal("node-a", "retransmissions", 9.0, 0.0, of="Node")
    assert not found(world.snapshot(), "network-delay-node")


def test_a_node_that_always_sends_again_is_no_news() -> None:
    world = measured_chain(("till", 5, 9000))
    world.measure("node-a", "retransmissions", 2.7, 3.5, of="Node")
    assert not found(world.snapshot(), "network-delay-node")


@pytest.mark.parametrize(("is_told", "rule"), [(False, "network-delay-pod"), (True, "network-delay-node")])
def test_a_raw_rate_must_rise_more_than_one_that_an_alert_tells(is_told: bool, rule: str) -> None:
    world = measured_chain(("till", 5, 9000))
    if is_told:
        world.signal("node-a", "retransmissions", 0.45, 0.1, of="Node")
    else:
        world.measure("node-a", "retransmissions", 0.1, 0.45, of="Node")
    assert [each.rule for each in diagnose(world.snapshot()).ranked][:1] == [rule]
