"""What a quota keeps away."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import World, found

RULES = ("quota-cpu", "quota-memory", "quota-pods", "quota-services", "quota-storage")


def faults(world: World) -> list[str]:
    """Which of the family's rules find something."""
    return [rule for rule in RULES if found(world.snapshot(), rule)]


def exceeding(requested: str, *, ready: int = 0) -> World:
    """A workload whose pods are refused for what they request; `ready` of them exist."""
    world = World()
    world.deployment("oven", ready=ready, pods=ready)
    message = f'pods "oven-1-x" is forbidden: exceeded quota: q, requested: {requested}, used: a, limited: b'
    world.event(Ref("ReplicaSet", "oven-1"), "FailedCreate", message)
    return world


def quota(world: World, name: str, *, used: str, hard: str) -> None:
    """A quota for one thing."""
    world.add("ResourceQuota", "all", {"status": {"used": {name: used}, "hard": {name: hard}}}, declared=False)
