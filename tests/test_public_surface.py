"""The public surface changes on purpose only: `holdfast.__all__` equals a committed list.

After a change on purpose: `python -m tests.test_public_surface`, and tell it in a news fragment.
"""

from __future__ import annotations

from pathlib import Path

import holdfast

SNAPSHOT = Path(__file__).with_name("public_surface.txt")
NAMES_MAX = 115
"""About 80 are wanted; more than this is no front door any more."""


def surface() -> str:
    """The public names, one a line."""
    return "".join(f"{name}\n" for name in sorted(holdfast.__all__))


def test_the_public_surface_is_the_committed_one() -> None:
    was, now = set(SNAPSHOT.read_text("utf-8").split()), set(surface().split())
    changed = {"came": sorted(now - was), "went": sorted(was - now)}
    assert was == now, f"{changed}: on purpose? then run `python -m {__name__}` and tell it in changes/"


def test_the_front_door_stays_a_door() -> None:
    assert len(holdfast.__all__) <= NAMES_MAX


if __name__ == "__main__":
    SNAPSHOT.write_text(surface(), "utf-8")
    print(f"{SNAPSHOT.name}: {len(holdfast.__all__)} names")
