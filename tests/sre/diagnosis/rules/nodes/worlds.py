"""Nodes that are not ready, and programs of hosts that are down."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import NodeAgent, Ref
from tests.sre.diagnosis.worlds import World


def down(reason: str, message: str) -> World:
    """A node that is not ready, with the words of its condition."""
    world = World()
    condition = {"type": "Ready", "status": "Unknown", "reason": reason, "message": message}
    ref = world.node("node-a")
    world.live[ref] = {**world.live[ref], "status": {"conditions": [condition]}}
    return world


def hosted(program: str, *, is_active: bool) -> World:
    """A node and what its host says of one of its programs."""
    world = World()
    world.node("node-a", ready="True" if is_active else "Unknown")
    world.agents.append(NodeAgent("node-a", program, is_active, "Active: inactive (dead)"))
    return world


NODE = Ref("Node", "node-a")
STOPPED = ("NodeStatusUnknown", "Kubelet stopped posting node status.")
RUNTIME = ("KubeletNotReady", "container runtime is down, PLEG is not healthy")
