"""`claim-occupied`: the volume that would fit is bound to another claim."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import ANY_ABSENT, Field
from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.storage.worlds import claiming, faults
from tests.sre.diagnosis.worlds import found


def test_a_volume_bound_to_another_claim_asks_for_the_volume_that_is_missing() -> None:
    world = claiming({}, {}, bound="sugar")
    assert faults(world) == ["claim-occupied"]
    assert Field(Ref("PersistentVolume", ANY_ABSENT), "") in found(world.snapshot(), "claim-occupied")[0].blames


def test_a_volume_that_is_free_or_a_claim_that_is_bound_has_no_fault() -> None:
    assert not found(claiming({}, {}).snapshot(), "claim-occupied")
    assert not found(claiming({}, {}, bound="sugar", phase="Bound").snapshot(), "claim-occupied")
