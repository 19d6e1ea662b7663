"""`quota-services`: a declared service is absent, and the namespace may not have more of them."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.quotas.worlds import faults, quota
from tests.sre.diagnosis.worlds import NAMESPACE, World, found


def serving(*, used: str, is_there: bool = False) -> World:
    world = World()
    world.service("till", live=is_there)
    quota(world, "services", used=used, hard="2")
    return world


def test_a_quota_that_keeps_a_service_away() -> None:
    assert faults(serving(used="2")) == ["quota-services"]
    assert found(serving(used="2").snapshot(), "quota-services")[0].object == Ref("Namespace", NAMESPACE)


def test_a_quota_with_room_and_a_service_that_is_there_are_no_fault() -> None:
    assert not found(serving(used="1").snapshot(), "quota-services")
    assert not found(serving(used="2", is_there=True).snapshot(), "quota-services")
