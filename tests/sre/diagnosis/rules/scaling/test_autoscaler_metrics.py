"""`autoscaler-metrics`: ScalingActive is False although the target exists."""

from __future__ import annotations

from tests.sre.diagnosis.rules.scaling.worlds import scaled
from tests.sre.diagnosis.worlds import found

IDLE = {
    "type": "ScalingActive",
    "status": "False",
    "reason": "FailedGetResourceMetric",
    "message": "missing request for cpu",
}
ASKING = {"resources": {"requests": {"cpu": "100m"}}}


def test_an_autoscaler_of_containers_that_ask_for_nothing() -> None:
    finding = found(scaled(IDLE).snapshot(), "autoscaler-metrics")[0]
    assert finding.confidence == 0.9
    assert any(field.path.endswith("resources.requests") for field in finding.blames)
    assert found(scaled(IDLE, **ASKING).snapshot(), "autoscaler-metrics")[0].confidence == 0.75
    assert not found(scaled().snapshot(), "autoscaler-metrics")
