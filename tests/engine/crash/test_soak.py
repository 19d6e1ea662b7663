"""A bit of everything, killed again and again: every chain is whole, every lock was one holder's, all runs end."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from functools import partial

import pytest

from tests.engine.crash.findings import examine
from tests.engine.crash.processes import Stage

RUNS = 40
KILLS = 6
STANDSTILL_S = 1.2
"""Longer than the lease of a process; shorter than others wait for their turn to write, should it be stopped in one."""
PATIENT = {"deaths_max": 1000}
"""Here the processes die for no fault of any run."""
SEEDS = pytest.mark.parametrize(
    ("stage", "seed"), [("sqlite", 1), ("sqlite", 2), ("postgresql", 3)], indirect=["stage"]
)
"""Each is a story of its own on its own back end."""


@SEEDS
def test_runs_end_well_however_often_their_processes_are_killed(stage: Stage, seed: int) -> None:
    """Each process is killed after so many further lines in the ledger, drawn from the seed."""
    draw = random.Random(seed)
    for _ in range(KILLS):
        target = len(stage.ledger.lines()) + draw.randint(5, 60)
        process = stage.start("mixed", starts=RUNS, awaits=RUNS, stays=True, engine=PATIENT)
        process.until(partial(_has_come, stage, target), f"{target} lines (seed {seed})")
        process.kill()
        examine(stage.url)
    stage.run("mixed", starts=RUNS, awaits=RUNS, engine=PATIENT)
    _check_runs(stage)
    _check_locks(stage)


@SEEDS
def test_runs_end_well_where_one_of_two_processes_is_killed_or_stopped(stage: Stage, seed: int) -> None:
    """Two at work side by side; after so many lines one of them, drawn from the seed, is killed and replaced, or
    stopped for longer than its lease and let go on."""
    draw = random.Random(seed)
    options = {**PATIENT, "lease_ttl_s": 0.9, "heartbeat_s": 0.3}
    pair = [stage.start("mixed", starts=RUNS, awaits=RUNS, stays=True, engine=options) for _ in range(2)]
    for _ in range(KILLS):
        target = len(stage.ledger.lines()) + draw.randint(5, 60)
        place = draw.randrange(2)
        pair[1 - place].until(partial(_has_come, stage, target), f"{target} lines (seed {seed})")
        if draw.random() < 0.5:
            pair[place].kill()
            pair[place] = stage.start("mixed", starts=RUNS, awaits=RUNS, stays=True, engine=options)
        elif not _is_over(stage):
            pair[place].stop()
            time.sleep(STANDSTILL_S)
            pair[place].go_on()
    for process in pair:
        process.finish()
    _check_runs(stage)


def _check_runs(stage: Stage) -> None:
    """All runs have ended well, each state once, and no body ran more often than processes were hurt."""
    found = examine(stage.url)
    assert {run.run.status for run in found.values()} == {"done"}
    for run in found.values():
        left = Counter(source for source, _ in run.transitions)
        assert (left["repair"], left["pause"]) == (1, 1)
        assert [target for _, target in run.transitions].count("repair") == 1
    bodies = Counter(line.key for line in stage.ledger.lines() if line.what.startswith(("pods", "events", "read")))
    assert len(bodies) == 3 * RUNS
    assert max(bodies.values()) <= 1 + KILLS


def _check_locks(stage: Stage) -> None:
    """In the order in which the world saw it: tokens only grow, and within a process nobody enters before the one
    inside has left. (A holder that stood still acts with its old token when it wakes: whoever is written to compares
    tokens. So this does not hold where processes are stopped.)"""
    seen: dict[str, int] = defaultdict(int)
    inside: dict[tuple[str, int], str] = {}
    for line in stage.ledger.lines():
        way, _, repository = line.what.partition(" ")
        if way == "in":
            assert int(line.key) > seen[repository], f"token {line.key} of repository {repository} after {seen}"
            assert inside.setdefault((repository, line.pid), line.key) == line.key, "two holders at once"
            seen[repository] = int(line.key)
        elif way == "out":
            assert inside.pop((repository, line.pid)) == line.key


def _has_come(stage: Stage, lines: int) -> bool:
    """Whether the ledger has so many lines, or never will."""
    return len(stage.ledger.lines()) >= lines or _is_over(stage)


def _is_over(stage: Stage) -> bool:
    return len(stage.ledger.lines("finished")) > 0
