"""Runs among runs, their process killed right before and right after each commit that one of them makes."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.engine.crash.findings import Found, examine
from tests.engine.crash.processes import ON_SQLITE, Stage

pytestmark = ON_SQLITE  # what is committed together is the engine's affair, whatever the store


@pytest.mark.parametrize("fault", ["transition:3:kill", "before-transition:4:kill", "transition:4:kill"])
def test_a_kill_beside_a_childs_end_loses_none(stage: Stage, fault: str) -> None:
    """The commits of a family: its start, the leaf at rest, the leaf's end, the middle's, the top's. The next process
    finds what the dead one wrote and did not tell: each ends once, and no other is begun."""
    stage.start("family", starts=1, fault=fault).until_killed()
    stage.run("family", starts=1)
    _check(examine(stage.url), {"leaf": "awake", "middle": "over", "top": "over"})
    bodies = Counter(stage.ledger.keys("a") + stage.ledger.keys("b"))
    assert len(bodies) == 2, "one key for each step, however often it was tried"


@pytest.mark.parametrize("fault", ["transition:2:kill", "transition:3:kill"])
def test_a_cancel_goes_down_although_whoever_cancels_dies(stage: Stage, fault: str) -> None:
    """The second process gives no cancel unless the first one's was not committed."""
    stage.start("family", starts=1, holds=("cancel",), fault=fault).until_killed()
    stage.run("family", starts=1, holds=("cancel",))
    _check(examine(stage.url), {"leaf": "cancelled", "middle": "cancelled", "top": "cancelled"})


def _check(found: dict[str, Found], outcomes: dict[str, str]) -> None:
    runs = [each.run for each in found.values()]
    assert sorted((run.workflow, run.outcome) for run in runs) == sorted(outcomes.items())
