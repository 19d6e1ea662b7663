"""Suspects are tried in a process of their own: what kills it kills no engine."""

from __future__ import annotations

import signal

import pytest

from tests.engine.crash.findings import Found, examine
from tests.engine.crash.processes import ON_SQLITE, Stage

RUNS = 9
RESTARTS_MAX = 6


def deaths_until_settled(stage: Stage, **plan: object) -> int:
    """How many engines died before one saw all runs settled."""
    for deaths in range(RESTARTS_MAX):
        process = stage.start("quarantined", awaits=RUNS, **plan)
        if process.until_ended() != -signal.SIGKILL:
            process.finish()
            return deaths
    raise AssertionError(f"the engine still dies after {RESTARTS_MAX} restarts")


def check_killer_is_set_aside(found: dict[str, Found]) -> None:
    assert {name: run.run.status for name, run in found.items() if run.run.status != "done"} == {"T-0": "poisoned"}
    killer = [row.name for row in found["T-0"].rows if row.name in ("recovered", "suspected", "set-aside")]
    assert killer == ["recovered", "suspected", "set-aside"]
    assert found["T-0"].owner == ""


@pytest.mark.parametrize("stage", ["sqlite", "postgresql"], indirect=True)
def test_the_last_death_of_a_killer_is_not_the_engines(stage: Stage) -> None:
    """Twice it takes the engine along; the third time it is a suspect, and alone in a process of its own."""
    stage.run("quarantined", starts=RUNS, engine={"works": False})
    assert deaths_until_settled(stage) == 2
    assert stage.ledger.keys("settled") == [""]
    found = examine(stage.url)
    check_killer_is_set_aside(found)
    workers = {line.pid for line in stage.ledger.lines("work") if line.key.startswith(found["T-0"].run.id)}
    settler = {line.pid for line in stage.ledger.lines("settled")}
    assert len(workers) == 3
    assert not workers & settler
    assert max(found[name].count("suspected") for name in found if name != "T-0") == 1, "no innocent was suspected"


@ON_SQLITE
def test_on_a_sealed_store_the_codec_is_found_where_the_code_is(stage: Stage) -> None:
    """The process that tries the killer opens its payloads, and is told no key."""
    stage.run("quarantined", starts=RUNS, engine={"works": False}, holds=("sealed",))
    assert deaths_until_settled(stage, holds=("sealed",)) == 2
    assert stage.ledger.keys("settled") == [""], "there was nothing that kept it from being tried apart"
    assert stage.ledger.keys("set aside") == ["T-0"]
    assert b'"number"' not in stage.file.read_bytes()


@ON_SQLITE
def test_what_cannot_be_tried_apart_is_tried_here(stage: Stage) -> None:
    """The code cannot be imported in another process: the engine says so and goes on as it would alone."""
    stage.run("quarantined", starts=RUNS, engine={"works": False}, holds=("refuses",))
    assert deaths_until_settled(stage, holds=("refuses",)) == 3
    check_killer_is_set_aside(examine(stage.url))


@ON_SQLITE
def test_engine_that_closes_takes_its_quarantine_along_and_no_death_is_counted(stage: Stage) -> None:
    stage.run("quarantined", starts=1, engine={"works": False})
    for _ in range(2):
        assert stage.start("quarantined", stays=True).until_ended() == -signal.SIGKILL
    (stage.folder / "slow").touch()
    engine = stage.start("quarantined", stays=True)
    engine.until(lambda: len(stage.ledger.lines("stuck")) == 1, "the suspect at work")
    (stuck,) = stage.ledger.lines("stuck")
    assert stuck.pid != engine.pid
    engine.finish()
    found = examine(stage.url)["T-0"]
    assert (found.run.status, found.run.deaths, found.owner) == ("suspect", 2, "")
