"""Workloads whose image is not pulled."""

from __future__ import annotations

from typing import Any

from tests.sre.diagnosis.worlds import World, container, found

IMAGE = "registry.test/oven:9.9"
PULLING = {"waiting": {"reason": "ImagePullBackOff"}}
BOX = "spec.template.spec.containers[app]"
RULES = ("image-not-found", "image-registry-unknown", "image-registry-unreachable", "image-pull-forbidden")


def pulling(message: str, *, state: dict[str, Any] | None = None, image: str = IMAGE, **pod_spec: Any) -> World:
    """A workload that asks for an image, and what the kubelet says of pulling IMAGE."""
    world = World()
    world.deployment("oven", containers=[container(image=image)], ready=0, state=state or PULLING, **pod_spec)
    world.event(world.pod("oven"), "Failed", f'Failed to pull image "{IMAGE}": {message}')
    return world


def faults(world: World) -> list[str]:
    """Which of the family's rules find something."""
    return [rule for rule in RULES if found(world.snapshot(), rule)]
