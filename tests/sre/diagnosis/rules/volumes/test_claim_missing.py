"""`claim-missing`: the claim that the pods mount is absent."""

from __future__ import annotations

from tests.sre.diagnosis.rules.volumes.worlds import mounting
from tests.sre.diagnosis.worlds import found


def test_a_claim_that_is_not_there() -> None:
    world = mounting("till-dta")
    world.add("PersistentVolumeClaim", "till-data", {"spec": {}})
    finding = found(world.snapshot(), "claim-missing")[0]
    assert finding.blames[0].path == "spec.template.spec.volumes[data].persistentVolumeClaim.claimName"
    assert "nearly the name" in finding.evidence[-1].text
    assert not found(mounting("till-data", ready=1).snapshot(), "claim-missing")
