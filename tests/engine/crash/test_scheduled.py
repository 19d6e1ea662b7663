"""A schedule kept by several processes, of which one is killed: one run for each second, from the first to the last."""

from __future__ import annotations

from datetime import datetime

import pytest

from tests.engine.crash.findings import examine
from tests.engine.crash.processes import Stage


@pytest.mark.parametrize("fault", ["transition:2:kill", "before-transition:2:kill"])
@pytest.mark.parametrize("stage", ["sqlite", "postgresql"], indirect=True)
def test_two_processes_start_one_run_a_due_time(stage: Stage, fault: str) -> None:
    """Killed around the commit of a run, or of its end: the other goes on, and no second is left out or had twice."""
    other = stage.start("scheduled", stays=True)
    other.until_line("started")
    stage.start("scheduled", stays=True, fault=fault).until_killed()
    seen = len(stage.ledger.keys("tick"))
    other.until(lambda: len(stage.ledger.keys("tick")) >= seen + 2, "two more runs")
    other.finish()
    found = examine(stage.url)
    times = sorted(datetime.fromisoformat(ticket.partition("@")[2]).timestamp() for ticket in found)
    assert times == [times[0] + second for second in range(len(times))], "each second, none left out"
    assert len(set(stage.ledger.keys("tick"))) <= len(found), "no run that is not under its ticket"
    assert {run.run.started_by for run in found.values()} == {"schedule every-1s"}
