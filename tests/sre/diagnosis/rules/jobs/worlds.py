"""Cron jobs."""

from __future__ import annotations

from typing import Any

from tests.sre.diagnosis.worlds import World


def cron(
    schedule: str = "0 3 * * *", *, suspend: bool = False, wanted: bool = False, deadline: int | None = None
) -> World:
    """A cron job `count` as the cluster has it; `wanted` is whether its manifest has it suspended."""
    world = World()
    spec: dict[str, Any] = {"schedule": schedule, **({"startingDeadlineSeconds": deadline} if deadline else {})}
    ref = world.add("CronJob", "count", {"spec": {**spec, "suspend": wanted}})
    world.live[ref] = {**world.live[ref], "spec": {**spec, "suspend": suspend}}
    return world
