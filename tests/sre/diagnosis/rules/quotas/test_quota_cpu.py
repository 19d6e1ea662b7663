"""`quota-cpu`: the namespace may not ask for more CPU."""

from __future__ import annotations

import pytest

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.quotas.worlds import exceeding, faults, quota
from tests.sre.diagnosis.worlds import NAMESPACE, World, container, found


@pytest.mark.parametrize("requested", ["requests.cpu=1", "limits.cpu=1"])
def test_pods_that_are_refused_for_their_cpu(requested: str) -> None:
    assert faults(exceeding(requested)) == ["quota-cpu"]
    assert found(exceeding(requested).snapshot(), "quota-cpu")[0].object == Ref("Namespace", NAMESPACE)


def test_pods_that_exist_were_not_refused() -> None:
    assert not found(exceeding("requests.cpu=1", ready=1).snapshot(), "quota-cpu")


def test_a_quota_without_room_tells_where_no_event_does() -> None:
    world = World()
    world.deployment("oven", ready=0, pods=0, containers=[container(resources={"requests": {"cpu": "2"}})])
    quota(world, "requests.cpu", used="3", hard="4")
    assert found(world.snapshot(), "quota-cpu")[0].confidence == 0.8
    quota(world, "requests.cpu", used="2", hard="4")
    assert not found(world.snapshot(), "quota-cpu")
