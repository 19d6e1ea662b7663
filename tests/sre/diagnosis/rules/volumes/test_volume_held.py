"""`volume-held`: the volume is attached elsewhere."""

from __future__ import annotations

from tests.sre.diagnosis.rules.volumes.worlds import TILL, mounting
from tests.sre.diagnosis.worlds import found


def test_a_volume_that_another_pod_holds() -> None:
    world = mounting("till-data")
    assert not found(world.snapshot(), "volume-held")
    world.event(world.pod("till"), "FailedAttachVolume", "Multi-Attach error for volume pv-1: in use by pod oven")
    assert found(world.snapshot(), "volume-held")[0].object == TILL


def test_a_workload_that_is_well_has_its_volume() -> None:
    world = mounting("till-data", ready=1)
    world.event(world.pod("till"), "FailedAttachVolume", "Multi-Attach error for volume pv-1: in use by pod oven")
    assert not found(world.snapshot(), "volume-held")
