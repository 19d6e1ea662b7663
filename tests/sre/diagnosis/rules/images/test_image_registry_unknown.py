"""`image-registry-unknown`: the registry's host name cannot be looked up."""

from __future__ import annotations

import pytest

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.images.worlds import faults, pulling
from tests.sre.diagnosis.worlds import found


@pytest.mark.parametrize(
    "message",
    [
        "dial tcp: lookup registry.test on 10.0.0.2:53: no such host",
        "dial tcp: lookup registry.test on 10.0.0.2:53: read udp: i/o timeout",
    ],
)
def test_a_host_that_nobody_knows(message: str) -> None:
    world = pulling(message)
    assert faults(world) == ["image-registry-unknown"]
    assert found(world.snapshot(), "image-registry-unknown")[0].object == Ref("Deployment", "oven")


def test_a_host_that_was_found_since_is_history() -> None:
    world = pulling("lookup registry.test: no such host", state={"running": {}})
    assert not found(world.snapshot(), "image-registry-unknown")
