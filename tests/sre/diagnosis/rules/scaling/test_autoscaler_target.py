"""`autoscaler-target`: the autoscaler names a workload that the cluster does not have."""

from __future__ import annotations

from tests.sre.diagnosis.rules.scaling.worlds import scaled
from tests.sre.diagnosis.worlds import found


def test_an_autoscaler_whose_target_is_not_there() -> None:
    assert found(scaled(target="tll").snapshot(), "autoscaler-target")[0].blames[0].path == "spec.scaleTargetRef"
    assert not found(scaled().snapshot(), "autoscaler-target")
