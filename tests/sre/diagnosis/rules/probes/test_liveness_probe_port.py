"""`liveness-probe-port`: the liveness probe asks a port that the container does not open."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Change
from tests.sre.diagnosis.rules.probes.worlds import BOX, GRPC, probed
from tests.sre.diagnosis.worlds import World, container, found

WRONG = {"grpc": {"port": 8001}}


def test_a_port_that_nobody_opens_becomes_the_sibling_probes() -> None:
    world = probed("liveness", WRONG, GRPC, message="connection refused")
    finding = found(world.snapshot(), "liveness-probe-port")[0]
    assert finding.remedy == (Change("Deployment/oven", f"{BOX}.livenessProbe.grpc.port", "8001", "8000"),)
    assert not found(world.snapshot(), "liveness-probe-protocol")


def test_a_probe_that_does_no_harm_now_is_not_blamed() -> None:
    assert not found(probed("liveness", WRONG, GRPC, message="refused", restarts=0).snapshot(), "liveness-probe-port")


def test_a_probe_that_failed_long_ago_is_history() -> None:
    world = World()
    world.deployment("oven", containers=[container(livenessProbe={"grpc": {"port": 1}})], restarts=3)
    world.event(world.pod("oven"), "Unhealthy", "Liveness probe failed: refused", age_s=3000.0)
    assert not found(world.snapshot(), "liveness-probe-port")


def test_a_probe_that_cannot_work_is_blamed_where_no_event_tells_of_it() -> None:
    world = World()
    world.deployment("till", ready=0, restarts=2, containers=[container(livenessProbe={"tcpSocket": {"port": 9}})])
    assert found(world.snapshot(), "liveness-probe-port")[0].confidence == 0.75
