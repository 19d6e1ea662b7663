"""Workloads whose pods no node takes."""

from __future__ import annotations

from typing import Any

from tests.sre.diagnosis.worlds import World, found, without_node

RULES = [
    "node-selector",
    "node-affinity",
    "node-cordoned",
    "node-taint",
    "cpu-request-too-large",
    "memory-request-too-large",
]


def faults(world: World) -> list[str]:
    """Which of the family's rules find something: of all sieves the one that lets no node through is the cause."""
    return [rule for rule in RULES if found(world.snapshot(), rule)]


def unplaced(*nodes: dict[str, Any], **pod_spec: Any) -> World:
    """A workload that waits for a node, of which the scheduler says everything that it could, and some nodes."""
    world = without_node(**pod_spec)
    for index, node in enumerate(nodes):
        world.node(f"node-{index}", **node)
    return world


def affinity(key: str, operator: str, *values: str) -> dict[str, Any]:
    """The required affinity to nodes that satisfy one expression."""
    term = {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"nodeAffinity": required}


FAST = {"nodeSelector": {"disk": "fast"}}
