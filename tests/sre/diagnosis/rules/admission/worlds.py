"""Workloads whose pods are refused."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import World


def refused(message: str, *, pods: int = 0) -> World:
    """A workload whose pods are refused with a message; `pods` of them exist all the same."""
    world = World()
    world.deployment("till", ready=0, pods=pods)
    world.event(Ref("ReplicaSet", "till-1"), "FailedCreate", message)
    return world
