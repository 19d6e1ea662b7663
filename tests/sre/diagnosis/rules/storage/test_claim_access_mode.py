"""`claim-access-mode`: no volume offers the claim's access mode."""

from __future__ import annotations

from typing import Any

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.storage.worlds import claiming, faults
from tests.sre.diagnosis.worlds import World, found

CLAIM: dict[str, Any] = {"accessModes": ["ReadWriteMany"]}


def test_a_claim_that_differs_from_the_closest_volume() -> None:
    world = claiming(CLAIM, {})
    assert faults(world) == ["claim-access-mode"]
    finding = found(world.snapshot(), "claim-access-mode")[0]
    assert finding.object == Ref("Deployment", "oven")
    assert [(field.object.kind, field.path) for field in finding.blames] == [
        ("PersistentVolumeClaim", "spec.accessModes"),
        ("PersistentVolume", "spec.accessModes"),
    ]


def test_a_claim_that_would_fit_or_is_bound_has_no_fault() -> None:
    assert not found(claiming({}, {}).snapshot(), "claim-access-mode")
    assert not found(claiming(CLAIM, {}, phase="Bound").snapshot(), "claim-access-mode")


def mounting(claim: str, *, ready: int = 0) -> World:
    world = World()
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
    world.deployment("till", ready=ready, node=None, volumes=volumes)
    return world


def test_of_two_volumes_the_free_one_was_meant() -> None:
    """Somebody else's bound volume would fit but for being bound: that is no reason to blame the binding."""
    world = mounting("till-data")
    spec = {"accessModes": ["ReadWriteMany"], "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}}
    world.add("PersistentVolumeClaim", "till-data", {"spec": spec, "status": {"phase": "Pending"}})
    offer = {"capacity": {"storage": "1Gi"}, "storageClassName": ""}
    world.add(
        "PersistentVolume", "a-taken", {"spec": {**offer, "accessModes": ["ReadWriteMany"], "claimRef": {"name": "x"}}}
    )
    world.add("PersistentVolume", "b-free", {"spec": {**offer, "accessModes": ["ReadWriteOnce"]}})
    assert found(world.snapshot(), "claim-access-mode")
    assert not found(world.snapshot(), "claim-occupied")
