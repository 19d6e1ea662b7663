"""`quota-pods`: the namespace may not have more pods."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.quotas.worlds import exceeding, faults, quota
from tests.sre.diagnosis.worlds import NAMESPACE, World, found


def test_pods_that_are_refused_for_their_number() -> None:
    assert faults(exceeding("pods=1")) == ["quota-pods"]
    assert found(exceeding("pods=1").snapshot(), "quota-pods")[0].object == Ref("Namespace", NAMESPACE)


def test_pods_that_exist_were_not_refused() -> None:
    assert not found(exceeding("pods=1", ready=1).snapshot(), "quota-pods")


def test_a_quota_that_is_full_tells_where_no_event_does() -> None:
    world = World()
    world.deployment("till", ready=0, pods=0)
    quota(world, "pods", used="5", hard="5")
    assert found(world.snapshot(), "quota-pods")[0].confidence == 0.8
    quota(world, "pods", used="4", hard="5")
    assert not found(world.snapshot(), "quota-pods")
