"""Autoscalers."""

from __future__ import annotations

from typing import Any

from tests.sre.diagnosis.worlds import World, container


def scaled(*conditions: dict[str, str], target: str = "till", current: int = 2, most: int = 4, **box: Any) -> World:
    """An autoscaler of the workload `till`, with its conditions, and what that workload's container asks for."""
    world = World()
    world.deployment("till", containers=[container(**box)])
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": target}, "maxReplicas": most}
    status = {"conditions": list(conditions), "currentReplicas": current}
    world.add("HorizontalPodAutoscaler", "till", {"spec": spec, "status": status})
    return world
