"""Very many active runs, their process killed: the next one on the host makes progress at once and ends them all."""

from __future__ import annotations

import time

import pytest

from tests.engine.crash.findings import examine
from tests.engine.crash.processes import Stage

RUNS = 10_000
RUNS_ON_A_MIRROR = 2_000
"""Recovery reads nothing of its cache; this shows that the cache is in nobody's way."""
FIRST_PROGRESS_S_MAX = 1.0
SILENT_BEFORE_S_MAX = 60.0
"""From the last heartbeat of the killed process until the next one is started, on any machine."""


@pytest.mark.alone
@pytest.mark.slow
def test_recovery_of_many_runs_makes_progress_within_a_second(stage: Stage) -> None:
    runs = RUNS_ON_A_MIRROR if stage.url.startswith("hybrid") else RUNS
    dead = stage.start("many", starts=runs)
    dead.until_line("busy")
    dead.kill()
    began_at = time.monotonic()
    stage.start("many", awaits=runs).finish()
    whole_s = time.monotonic() - began_at
    (progress,), (finished,) = stage.ledger.keys("progress"), stage.ledger.keys("finished")
    (spread,) = stage.ledger.keys("spread")
    print(
        f"{runs} active runs: first progress {progress} s after the engine's entry, all ended after {finished} s;"
        f" the whole process, start of Python included: {whole_s:.1f} s; {spread}"
    )
    assert float(progress) < FIRST_PROGRESS_S_MAX
    found = examine(stage.url)
    assert len(found) == runs
    assert {run.run.status for run in found.values()} == {"done"}
    assert {run.count("recovered") for run in found.values()} == {1}
    assert spread.startswith(f"{runs} runs recovered")
    silences = [row.facts["silent_s"] for run in found.values() for row in run.rows if row.name == "recovered"]
    assert 0 < min(silences) <= max(silences) < whole_s + SILENT_BEFORE_S_MAX
