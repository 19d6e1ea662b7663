"""`readiness-probe-port`: the readiness probe asks a port that the container does not open."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Change
from tests.sre.diagnosis.rules.probes.worlds import BOX, GRPC, probed
from tests.sre.diagnosis.worlds import found

WRONG = {"grpc": {"port": 8001}}


def test_a_port_that_nobody_opens_becomes_the_sibling_probes() -> None:
    world = probed("readiness", WRONG, GRPC, message="connection refused")
    finding = found(world.snapshot(), "readiness-probe-port")[0]
    assert finding.remedy == (Change("Deployment/oven", f"{BOX}.readinessProbe.grpc.port", "8001", "8000"),)
    assert not found(world.snapshot(), "readiness-probe-protocol")


def test_a_probe_that_does_no_harm_now_is_not_blamed() -> None:
    assert not found(probed("readiness", WRONG, GRPC, message="refused", ready=1).snapshot(), "readiness-probe-port")
