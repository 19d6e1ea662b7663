"""The contestants' own checks find what they are there for: a step that is not durable, a wrong result, a sync."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from benchmarks.bench_breakers import CONTESTANTS as BREAKERS
from benchmarks.bench_sequential import CONTESTANTS
from benchmarks.contestants.process import Size, measure, sync_calls
from benchmarks.contestants.recovery import Counts
from benchmarks.contestants.waves import measured
from benchmarks.contestants.witness import FileWitness

STEPS = 3
NEEDS = {"DBOS": "dbos", "DBOS on WAL": "dbos", "LangGraph": "langgraph.checkpoint.sqlite"}
STRACE_TABLE = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 66.67    0.000200          10        20           fdatasync
 33.33    0.000100          14         7         1 fsync
------ ----------- ----------- --------- --------- ----------------
100.00    0.000300          11        27         1 total
"""


class Counting:
    """A contestant of a few lines: `commits` says whether a step is committed when it ends, `adds` what it adds."""

    def __init__(self, path: Path, *, commits: bool = True, adds: int = 1) -> None:
        self._path = path
        self._commits = commits
        self._adds = adds
        self.witness = FileWitness(path, "SELECT count(*) FROM steps")
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE steps (id INTEGER PRIMARY KEY)")

    async def run(self, number: int) -> int:
        with contextlib.closing(sqlite3.connect(self._path)) as connection:
            for _ in range(STEPS):
                self.witness.saw_body()
                connection.execute("INSERT INTO steps DEFAULT VALUES")
                if self._commits:
                    connection.commit()
                number += self._adds
        return number


@pytest.mark.parametrize("name", CONTESTANTS)
def test_each_contestant_makes_durable_steps(name: str) -> None:
    if (package := NEEDS.get(name)) is not None:
        pytest.importorskip(package, reason=f"needs {package}, of the dependency group bench")
    found = measure(CONTESTANTS[name], Size(runs=2, steps=STEPS))
    assert found.seconds > 0
    assert "synchronous=FULL" in found.setting


async def test_a_contestant_that_commits_each_step_is_measured(tmp_path: Path) -> None:
    contestant = Counting(tmp_path / "steps.db")
    found = await measured(contestant.run, Size(1, STEPS, waves=2), contestant.witness)
    assert found.seconds > 0
    assert found.setting == "journal_mode=wal, synchronous=FULL"
    assert contestant.witness.count() == STEPS * 3, "two waves of one run, and the first one"


async def test_a_step_that_is_not_committed_before_the_next_is_found(tmp_path: Path) -> None:
    contestant = Counting(tmp_path / "steps.db", commits=False)
    with pytest.raises(AssertionError, match="expected 3 bodies, each after the step before it was committed"):
        await measured(contestant.run, Size(1, STEPS), contestant.witness)


async def test_a_wrong_result_is_found(tmp_path: Path) -> None:
    contestant = Counting(tmp_path / "steps.db", adds=2)
    with pytest.raises(AssertionError, match="expected each run to give its number plus 3"):
        await measured(contestant.run, Size(1, STEPS), contestant.witness)


async def test_a_first_step_that_runs_again_after_recovery_is_found() -> None:
    counts = Counts(1, hangs=False)
    await counts.second()
    await counts.third()
    counts.check_recovered()
    await counts.first()
    with pytest.raises(AssertionError, match=r"saw .*'first': 1"):
        counts.check_recovered()


def test_syncs_are_read_from_the_table_of_strace() -> None:
    assert sync_calls(STRACE_TABLE) == 27
    assert sync_calls("") == 0


@pytest.mark.parametrize("name", BREAKERS)
async def test_each_breaker_lets_calls_through(name: str) -> None:
    make, package = BREAKERS[name]
    if package:
        pytest.importorskip(package, reason=f"needs {package}, of the dependency group bench")
    call = make()
    for _ in range(3):
        assert await call() is None
