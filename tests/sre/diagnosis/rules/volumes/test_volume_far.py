"""`volume-far`: the volume is on nodes that do not take the pod."""

from __future__ import annotations

from tests.sre.diagnosis.rules.volumes.worlds import TILL, mounting
from tests.sre.diagnosis.worlds import found

FAR = "0/1 nodes are available: 1 node(s) had volume node affinity conflict."


def test_a_volume_that_is_where_the_pod_cannot_be() -> None:
    world = mounting("till-data")
    world.event(world.pod("till"), "FailedScheduling", FAR)
    assert found(world.snapshot(), "volume-far")[0].object == TILL


def test_a_pod_that_was_placed_since_or_waits_for_something_else_is_no_fault() -> None:
    world = mounting("till-data", ready=1)
    world.event(world.pod("till"), "FailedScheduling", FAR)
    assert not found(world.snapshot(), "volume-far")
    world = mounting("till-data")
    world.event(world.pod("till"), "FailedScheduling", "0/1 nodes are available: 1 Insufficient cpu.")
    assert not found(world.snapshot(), "volume-far")
