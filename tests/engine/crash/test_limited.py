"""Limits over processes: one is killed in mid-work and its runs begin again elsewhere, and neither the places nor the
rate are ever exceeded."""

from __future__ import annotations

import itertools

import pytest

from holdfast.workflow.model.run import Run
from tests.engine.crash.findings import examine
from tests.engine.crash.processes import Stage

RUNS = 36
PLACES = 3
RATE = 15
SLACK_S = 0.25
"""How much later than its grant a handler may begin on a machine that does other things too."""
QUICK = {"lease_ttl_s": 1.5, "heartbeat_s": 0.3}


@pytest.mark.parametrize("stage", ["sqlite", "postgresql", "redis", "mirror"], indirect=True)
def test_two_processes_and_a_recovery_never_exceed_places_or_rate(stage: Stage) -> None:
    engine = QUICK | {"durable": not stage.url.startswith("redis:")}
    second = stage.start("limited", awaits=RUNS, waits=True, engine=engine)
    second.until_line("ready")
    first = stage.start("limited", starts=RUNS, stays=True, engine=engine)
    first.until_line("started")
    second.let_go()
    second.until_line("begin", count=2)
    first.kill()
    second.finish()
    found = examine(stage.url)
    assert {each.run.status for each in found.values()} == {"done"}
    granted = sorted(row.facts["at"] for each in found.values() for row in each.rows if row.name == "place-granted")
    assert all(late - soon >= 1 / RATE - 1e-6 for soon, late in itertools.pairwise(granted))
    _check_ledger(stage, [each.run for each in found.values()], len(granted))


def _check_ledger(stage: Stage, runs: list[Run], grants: int) -> None:
    """What the handlers themselves wrote: they begin no more often than they were granted, and within the limits."""
    began: list[float] = []
    at_work: set[str] = set()
    for line in stage.ledger.lines():
        ticket, _, at = line.key.partition(" ")
        if line.what == "begin":
            began.append(float(at))
            at_work.add(ticket)  # who began before in the process that was killed does so no more
            assert len(at_work) <= PLACES
        elif line.what == "end":
            at_work.discard(ticket)
    assert len(runs) <= len(began) <= grants
    began.sort()
    for number, first in enumerate(began):
        assert sum(at < first + 1 for at in began[number:]) <= RATE * (1 + SLACK_S) + 1
