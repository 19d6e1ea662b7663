"""A claim, and a volume that it may or may not be bound to."""

from __future__ import annotations

from typing import Any

from tests.sre.diagnosis.worlds import World, found

RULES = ("claim-class", "claim-selector", "claim-access-mode", "claim-capacity", "claim-occupied")


def faults(world: World) -> list[str]:
    """Which of the family's rules about claims find something."""
    return [rule for rule in RULES if found(world.snapshot(), rule)]


def claiming(
    claim: dict[str, Any], volume: dict[str, Any], *, phase: str = "Pending", bound: str | None = None
) -> World:
    """A workload that mounts a claim, and one volume; `bound` is who else has that."""
    world = World()
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "flour"}}]
    world.deployment("oven", ready=0, node=None, volumes=volumes)
    spec = {"storageClassName": "", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claim_ref = world.add("PersistentVolumeClaim", "flour", {"spec": {**spec, **claim}})
    world.live[claim_ref] = {**world.live[claim_ref], "status": {"phase": phase}}
    offered = {"storageClassName": "", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}
    volume_ref = world.add("PersistentVolume", "sack", {"spec": {**offered, **volume}}, declared=bound is None)
    if bound:
        world.live[volume_ref]["spec"]["claimRef"] = {"name": bound}
    return world
