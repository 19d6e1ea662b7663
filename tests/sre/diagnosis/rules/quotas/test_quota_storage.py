"""`quota-storage`: a declared claim is absent, and the namespace may not have more of them, or not of its size."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.quotas.worlds import faults, quota
from tests.sre.diagnosis.worlds import NAMESPACE, World, found


def claiming(size: str) -> World:
    world = World()
    spec = {"spec": {"resources": {"requests": {"storage": size}}}}
    world.add("PersistentVolumeClaim", "flour", spec, live=False)
    return world


def test_a_quota_is_compared_with_the_size_of_the_claim() -> None:
    world = claiming("2Gi")
    quota(world, "requests.storage", used="9Gi", hard="10Gi")
    assert faults(world) == ["quota-storage"]
    assert found(world.snapshot(), "quota-storage")[0].object == Ref("Namespace", NAMESPACE)
    world = claiming("1Gi")
    quota(world, "requests.storage", used="9Gi", hard="10Gi")
    assert not found(world.snapshot(), "quota-storage")


def test_a_quota_of_one_storage_class_that_is_used_up() -> None:
    world = claiming("5Gi")
    name = "fast.storageclass.storage.k8s.io/requests.storage"
    quota(world, name, used="6Gi", hard="10Gi")
    assert found(world.snapshot(), "quota-storage")
    quota(world, name, used="5Gi", hard="10Gi")
    assert not found(world.snapshot(), "quota-storage")
