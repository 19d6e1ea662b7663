"""Pods that wait to be configured."""

from __future__ import annotations

from typing import Any

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import World, container


def held_back(reason: str, message: str = "", **box: Any) -> World:
    """A workload whose container waits for a reason, with the kubelet's message."""
    world = World()
    state = {"waiting": {"reason": reason, "message": message}}
    world.deployment("till", ready=0, state=state, containers=[container(**box)])
    return world


TILL = Ref("Deployment", "till")
