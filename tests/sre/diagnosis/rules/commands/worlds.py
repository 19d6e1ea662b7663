"""Containers that end at once."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import World

TILL = Ref("Deployment", "till")
BOX = "spec.template.spec.containers[app]"


def crashing(line: str = "", *, code: int = 1, text: str = "", ready: int = 0) -> World:
    """A workload whose container ended several times, with a line of its log, an exit code and a message."""
    world = World()
    ended = {"terminated": {"exitCode": code, "reason": "Error", "message": text}}
    world.deployment(
        "till", ready=ready, restarts=4, state={"waiting": {"reason": "CrashLoopBackOff"}}, last_state=ended
    )
    if line:
        world.log("till", line)
    return world
