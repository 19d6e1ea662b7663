"""`startup-probe-protocol`: the startup probe speaks another protocol than the container."""

from __future__ import annotations

from typing import Any

from tests.sre.diagnosis.rules.probes.worlds import BOX, GRPC
from tests.sre.diagnosis.worlds import World, container, found


def starting(probe: dict[str, Any], message: str) -> World:
    world = World()
    box = container(startupProbe=probe, readinessProbe=GRPC)
    world.deployment("till", ready=0, restarts=2, containers=[box])
    world.event(world.pod("till"), "Unhealthy", f"Startup probe failed: {message}")
    return world


def test_a_probe_that_speaks_http_to_what_does_not() -> None:
    world = starting({"httpGet": {"port": 8000}}, "malformed HTTP response")
    assert [(change.path, change.after) for change in found(world.snapshot(), "startup-probe-protocol")[0].remedy] == [
        (f"{BOX}.startupProbe.grpc.port", "8000"),
        (f"{BOX}.startupProbe.httpGet.port", None),
    ]
    assert not found(world.snapshot(), "startup-probe-port")


def test_a_probe_that_speaks_as_its_sibling_does_is_right() -> None:
    assert not found(starting(GRPC, "timeout").snapshot(), "startup-probe-protocol")
