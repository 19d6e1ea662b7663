"""`image-registry-unreachable`: the registry's host resolves, and cannot be talked to."""

from __future__ import annotations

import pytest

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.images.worlds import faults, pulling
from tests.sre.diagnosis.worlds import found


@pytest.mark.parametrize(
    "message", ["dial tcp 10.1.1.1:443: i/o timeout", "tls: failed to verify certificate: x509: unknown authority"]
)
def test_a_registry_that_does_not_answer(message: str) -> None:
    world = pulling(message)
    assert faults(world) == ["image-registry-unreachable"]
    assert found(world.snapshot(), "image-registry-unreachable")[0].object == Ref("Deployment", "oven")


def test_a_registry_that_answered_since_is_history() -> None:
    world = pulling("dial tcp 10.1.1.1:443: i/o timeout", state={"running": {}})
    assert not found(world.snapshot(), "image-registry-unreachable")
