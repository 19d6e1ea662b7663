"""`volume-permission`: the log of a workload that mounts a volume says permission denied."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import World, container, found


def mounting(line: str, *, ready: int = 0) -> World:
    world = World()
    world.deployment("oven", containers=[container(volumeMounts=[{"name": "data", "mountPath": "/d"}])], ready=ready)
    world.log("oven", f"cannot open /d/file: {line}")
    return world


def test_a_process_that_may_not_read_its_volume() -> None:
    assert found(mounting("Permission denied").snapshot(), "volume-permission")[0].object == Ref("Deployment", "oven")


def test_a_process_that_is_well_or_says_nothing_of_it_may() -> None:
    assert not found(mounting("Permission denied", ready=1).snapshot(), "volume-permission")
    assert not found(mounting("fine").snapshot(), "volume-permission")
