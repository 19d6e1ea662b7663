"""`startup-probe-port`: the startup probe asks a port that the container does not open."""

from __future__ import annotations

from tests.sre.diagnosis.worlds import World, container, found


def test_a_startup_probe_at_a_port_that_nobody_opens() -> None:
    world = World()
    box = container(startupProbe={"tcpSocket": {"port": 9}}, readinessProbe={"tcpSocket": {"port": 8000}})
    world.deployment("till", ready=0, restarts=2, containers=[box])
    world.event(world.pod("till"), "Unhealthy", "Startup probe failed: dial tcp: connection refused")
    assert found(world.snapshot(), "startup-probe-port")[0].remedy[0].after == "8000"
    assert not found(world.snapshot(), "startup-probe-protocol")


def test_a_startup_probe_at_the_port_that_the_container_opens_is_right() -> None:
    world = World()
    world.deployment("till", ready=0, restarts=2, containers=[container(startupProbe={"tcpSocket": {"port": 8000}})])
    world.event(world.pod("till"), "Unhealthy", "Startup probe failed: dial tcp: connection refused")
    assert not found(world.snapshot(), "startup-probe-port")
