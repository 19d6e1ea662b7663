"""`autoscaler-limit`: the autoscaler wants more replicas than it may have."""

from __future__ import annotations

from tests.sre.diagnosis.rules.scaling.worlds import scaled
from tests.sre.diagnosis.worlds import found

FULL = {"type": "ScalingLimited", "status": "True", "reason": "TooManyReplicas", "message": "more than the maximum"}


def test_an_autoscaler_that_may_not_scale_further() -> None:
    assert found(scaled(FULL, current=4).snapshot(), "autoscaler-limit")
    assert not found(scaled(FULL, current=2).snapshot(), "autoscaler-limit")
