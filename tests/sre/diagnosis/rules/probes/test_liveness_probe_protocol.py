"""`liveness-probe-protocol`: the liveness probe speaks another protocol than the container."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Change
from tests.sre.diagnosis.rules.probes.worlds import BOX, GRPC, probed
from tests.sre.diagnosis.worlds import World, container, found


def test_a_probe_of_the_wrong_protocol_takes_the_siblings_handler() -> None:
    http = {"httpGet": {"port": 8000, "path": "/"}}
    world = probed("liveness", http, GRPC, message="malformed HTTP response")
    path = f"{BOX}.livenessProbe"
    assert found(world.snapshot(), "liveness-probe-protocol")[0].remedy == (
        Change("Deployment/oven", f"{path}.grpc.port", None, "8000"),
        Change("Deployment/oven", f"{path}.httpGet.path", "/", None),
        Change("Deployment/oven", f"{path}.httpGet.port", "8000", None),
    )
    assert not found(world.snapshot(), "liveness-probe-port")


def test_a_probe_that_runs_a_program_which_is_not_there() -> None:
    world = World()
    box = container(livenessProbe={"exec": {"command": ["health"]}}, readinessProbe={"grpc": {"port": 8000}})
    world.deployment("till", restarts=3, containers=[box])
    assert not found(world.snapshot(), "liveness-probe-protocol")
    world.event(world.pod("till"), "Unhealthy", "Liveness probe errored: executable file not found")
    remedy = found(world.snapshot(), "liveness-probe-protocol")[0].remedy
    assert {change.path.rpartition("livenessProbe.")[2]: change.after for change in remedy} == {
        "exec.command[0]": None,
        "grpc.port": "8000",
    }
