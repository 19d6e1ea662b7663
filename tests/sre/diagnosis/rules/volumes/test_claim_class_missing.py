"""`claim-class-missing`: the claim's storage class does not exist, and there is no volume to compare with."""

from __future__ import annotations

from tests.sre.diagnosis.rules.volumes.worlds import TILL, mounting
from tests.sre.diagnosis.worlds import found


def test_a_class_that_is_not_there_where_no_volume_is_to_be_compared_with() -> None:
    world = mounting("till-data")
    claim = world.add("PersistentVolumeClaim", "till-data", {"spec": {"storageClassName": "fast"}})
    world.event(claim, "ProvisioningFailed", 'storageclass.storage.k8s.io "fast" not found')
    assert found(world.snapshot(), "claim-class-missing")[0].object == TILL
    world.add("StorageClass", "fast", {})
    assert not found(world.snapshot(), "claim-class-missing")
