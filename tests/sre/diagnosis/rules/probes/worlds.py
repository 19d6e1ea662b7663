"""Containers with probes that fail."""

from __future__ import annotations

from typing import Any

from tests.sre.diagnosis.worlds import World, container

GRPC = {"grpc": {"port": 8000}}
BOX = "spec.template.spec.containers[app]"


def probed(which: str, probe: dict[str, Any], other: dict[str, Any], *, message: str, **more: Any) -> World:
    """A container with two probes, of which `which` fails."""
    sibling = "readiness" if which == "liveness" else "liveness"
    world = World()
    box = {**container(), f"{which}Probe": probe, f"{sibling}Probe": other}
    harm = {"restarts": 3} if which == "liveness" else {"ready": 0}
    world.deployment("oven", containers=[box], **{**harm, **more})
    world.event(world.pod("oven"), "Unhealthy", f"{which.capitalize()} probe failed: {message}")
    return world
