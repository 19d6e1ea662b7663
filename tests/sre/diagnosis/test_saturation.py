"""Who is short of CPU."""

from __future__ import annotations

import pytest

from holdfast_sre.diagnosis.saturation import starved
from tests.sre.diagnosis.worlds import World


@pytest.mark.parametrize(
    ("use", "waits", "requests", "is_starved"),
    [
        ((0.03, 0.16), (0.0, 0.8), (10.0, 10.0), True),
        ((0.03, 0.16), (0.0, 0.8), (10.0, 55.0), False),
        ((0.44, 0.36), (1.4, 0.7), (3.0, 5.0), False),
        ((0.03, 0.16), (0.7, 0.8), (10.0, 10.0), False),
        ((0.14, 0.19), (0.02, 0.8), (10.0, 10.0), True),
        ((0.14, 0.19), (0.1, 0.3), (10.0, 10.0), False),
    ],
    ids=["starved", "asked more", "always throttled", "throttled as before", "at its limit", "a little throttled"],
)
def test_who_works_more_for_a_request_and_waits_for_cpu_is_starved(
    use: tuple[float, float], waits: tuple[float, float], requests: tuple[float, float], is_starved: bool
) -> None:
    world = World()
    world.measure("till", "cpu", *use)
    world.measure("till", "throttled_s", *waits)
    world.measure("till", "requests", *requests)
    assert (starved(world.snapshot()) == {"till"}) == is_starved
