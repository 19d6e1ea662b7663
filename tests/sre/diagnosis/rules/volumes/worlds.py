"""Pods that wait for a volume."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import World

TILL = Ref("Deployment", "till")


def mounting(claim: str, *, ready: int = 0) -> World:
    """A workload that mounts a claim."""
    world = World()
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
    world.deployment("till", ready=ready, node=None, volumes=volumes)
    return world
