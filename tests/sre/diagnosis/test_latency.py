"""How slowness is measured, and what explains it."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from holdfast_sre.diagnosis.latency import rises, unexplained
from tests.sre.diagnosis.worlds import World, measured_chain

CHAIN = ("shop", "till", "vault", "safe")


def test_alerts_tell_where_nothing_was_measured() -> None:
    world = World()
    world.deployment("till")
    world.signal("till", "latency", 2000.0, 8.0, pct=50)
    assert rises(world.snapshot())["till"].rise_ms == 1992.0


@given(st.permutations(CHAIN), st.floats(0.21, 5.0), st.integers(0, 3), st.integers(0, 2**32))
def test_neither_names_nor_order_nor_size_change_who_is_blamed(
    names: list[str], factor: float, depth: int, seed: int
) -> None:
    """Everything above the one at fault is as late as it is, times a factor; everything below is as ever."""
    rows = [
        (name, 10.0, 10.0 + 2000.0 * factor ** (depth - place) if place <= depth else 10.0)
        for place, name in enumerate(names)
    ]
    world = measured_chain(*[(name, normal, min(current, 10.0 + 2000.0 / 0.21)) for name, normal, current in rows])
    random.Random(seed).shuffle(world.measures)
    late = [rise.name for rise in unexplained(world.snapshot(), rises(world.snapshot()))]
    assert names[depth] in late
    assert set(late) <= set(names[: depth + 1])
