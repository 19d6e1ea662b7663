"""`claim-selector`: the claim's selector matches no volume."""

from __future__ import annotations

from typing import Any

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.storage.worlds import claiming, faults
from tests.sre.diagnosis.worlds import found

CLAIM: dict[str, Any] = {"selector": {"matchLabels": {"tier": "dry"}}}


def test_a_claim_that_differs_from_the_closest_volume() -> None:
    world = claiming(CLAIM, {})
    assert faults(world) == ["claim-selector"]
    finding = found(world.snapshot(), "claim-selector")[0]
    assert finding.object == Ref("Deployment", "oven")
    assert [(field.object.kind, field.path) for field in finding.blames] == [
        ("PersistentVolumeClaim", "spec.selector"),
        ("PersistentVolume", "metadata.labels.tier"),
    ]


def test_a_claim_that_would_fit_or_is_bound_has_no_fault() -> None:
    assert not found(claiming({}, {}).snapshot(), "claim-selector")
    assert not found(claiming(CLAIM, {}, phase="Bound").snapshot(), "claim-selector")
