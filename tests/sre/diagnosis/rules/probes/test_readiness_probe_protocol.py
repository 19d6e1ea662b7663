"""`readiness-probe-protocol`: the readiness probe speaks another protocol than the container."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Change
from tests.sre.diagnosis.rules.probes.worlds import BOX, GRPC, probed
from tests.sre.diagnosis.worlds import World, container, found


def test_a_probe_of_the_wrong_protocol_takes_the_siblings_handler() -> None:
    http = {"httpGet": {"port": 8000, "path": "/"}}
    world = probed("readiness", http, GRPC, message="malformed HTTP response")
    path = f"{BOX}.readinessProbe"
    assert found(world.snapshot(), "readiness-probe-protocol")[0].remedy == (
        Change("Deployment/oven", f"{path}.grpc.port", None, "8000"),
        Change("Deployment/oven", f"{path}.httpGet.path", "/", None),
        Change("Deployment/oven", f"{path}.httpGet.port", "8000", None),
    )
    assert not found(world.snapshot(), "readiness-probe-port")


def test_a_readiness_probe_that_speaks_http_to_what_does_not() -> None:
    world = World()
    box = container(
        readinessProbe={"httpGet": {"port": 8000, "path": "/"}}, livenessProbe={"tcpSocket": {"port": 8000}}
    )
    world.deployment("till", ready=0, containers=[box])
    world.event(world.pod("till"), "Unhealthy", 'Readiness probe failed: Get "http://10.0.0.1:8000/": EOF')
    assert found(world.snapshot(), "readiness-probe-protocol")[0].confidence == 0.95
    assert not found(world.snapshot(), "readiness-probe-port")


def test_a_probe_that_speaks_as_its_sibling_does_is_right() -> None:
    assert not found(probed("readiness", GRPC, GRPC, message="timeout").snapshot(), "readiness-probe-protocol")
