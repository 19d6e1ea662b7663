"""`cpu-overload`: two of throttled, busier for a request, and later than before."""

from __future__ import annotations

import pytest

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import chain, found, measured_chain


@pytest.mark.parametrize(
    ("throttled", "use", "latency", "confidence"),
    [
        (True, 0.5, None, 0.93),
        (True, None, 900.0, 0.6),
        (False, 0.5, 900.0, 0.6),
        (True, None, None, 0),
        (True, 0.11, None, 0),
    ],
)
def test_two_signs_make_a_starved_service(
    throttled: bool, use: float | None, latency: float | None, confidence: float
) -> None:
    world = chain()
    if throttled:
        world.signal("oven", "cpu_throttled", 0.5, None)
    if use is not None:
        world.signal("oven", "cpu", use, 0.1)
    if latency is not None:
        world.signal("oven", "latency", latency, 10.0)
    assert [finding.confidence for finding in found(world.snapshot(), "cpu-overload")] == (
        [confidence] if confidence else []
    )


def test_throttling_alone_is_everyday_business() -> None:
    world = chain()
    world.signal("oven", "cpu_throttled", 0.5, None)
    assert not found(world.snapshot(), "cpu-overload")


def test_a_starved_callee_explains_its_callers() -> None:
    world = measured_chain(("shop", 30, 900), ("till", 20, 800))
    world.measure("till", "cpu", 0.1, 0.9)
    world.measure("till", "throttled_s", 0.0, 0.8)
    assert found(world.snapshot(), "cpu-overload")[0].object == Ref("Deployment", "till")
