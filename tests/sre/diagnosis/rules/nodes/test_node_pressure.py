"""`node-pressure`: a pressure condition of the node is True."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import World, found


def test_a_node_under_pressure_that_puts_pods_out() -> None:
    world = World()
    ref = world.node("node-a")
    condition = {"type": "DiskPressure", "status": "True", "message": "kubelet has disk pressure"}
    world.live[ref] = {**world.live[ref], "status": {"conditions": [condition]}}
    assert found(world.snapshot(), "node-pressure")[0].confidence == 0.7
    world.live[Ref("Pod", "gone")] = {"kind": "Pod", "spec": {"nodeName": "node-a"}, "status": {"reason": "Evicted"}}
    assert found(world.snapshot(), "node-pressure")[0].confidence == 0.9


def test_a_node_without_pressure_is_well() -> None:
    world = World()
    ref = world.node("node-a")
    condition = {"type": "DiskPressure", "status": "False", "message": "kubelet has sufficient disk"}
    world.live[ref] = {**world.live[ref], "status": {"conditions": [condition]}}
    assert not found(world.snapshot(), "node-pressure")
