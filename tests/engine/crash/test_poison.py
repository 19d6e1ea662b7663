"""A run that kills its process each time is set aside, visibly, and nobody else with it."""

from __future__ import annotations

import signal

from tests.engine.crash.findings import examine
from tests.engine.crash.processes import ON_SQLITE, Stage

RUNS = 101
RESTARTS_MAX = 10


def test_a_poison_run_is_set_aside_and_none_of_a_hundred_innocents(stage: Stage) -> None:
    """Three deaths: in the first two all runs are under way, in the third the poison is alone among the suspects."""
    stage.run("poison", starts=RUNS, engine={"works": False})
    deaths = _restarted_until_it_ends_well(stage, "poison")
    found = examine(stage.url)
    assert deaths == 3
    assert {name: run.run.status for name, run in found.items() if run.run.status != "done"} == {"T-0": "poisoned"}
    poison = found["T-0"]
    assert [row.name for row in poison.rows if row.name in ("recovered", "suspected", "set-aside")] == [
        "recovered",
        "suspected",
        "set-aside",
    ]
    assert "died 3 times without progress" in poison.run.reason
    assert poison.owner == ""
    assert all(run.count("suspected") <= 1 for run in found.values())
    assert sum(run.count("suspected") for run in found.values()) > 1, "no innocent run was under way: nothing was shown"


@ON_SQLITE
def test_a_run_that_was_set_aside_is_resumed_by_hand(stage: Stage) -> None:
    """With a fresh budget, and with the lock asked for anew: its token is not the one of the dead."""
    stage.run("poison", starts=RUNS, engine={"works": False})
    _restarted_until_it_ends_well(stage, "poison")
    stage.run("poison", holds=("cured",))
    found = examine(stage.url)["T-0"]
    assert (found.run.status, found.run.deaths) == ("done", 0)
    tokens = [row.facts["token"] for row in found.rows if row.name == "lock-granted"]
    assert tokens == sorted(set(tokens))
    assert len(tokens) > 1


def test_a_suspect_that_makes_progress_is_no_suspect_any_more(stage: Stage) -> None:
    """It dies alone, but with one more memo: it is taken up as any other run and ends well."""
    process = stage.start("stubborn", starts=1, awaits=1)
    process.until_killed()
    assert _restarted_until_it_ends_well(stage, "stubborn", awaits=1) == 2
    found = examine(stage.url)["T-0"]
    assert found.run.status == "done"
    assert [row.facts["deaths"] for row in found.rows if row.name in ("recovered", "suspected")] == [1, 2, 1]


def _restarted_until_it_ends_well(stage: Stage, program: str, *, awaits: int = 0) -> int:
    """How often the program was killed before it ended well."""
    for deaths in range(RESTARTS_MAX):
        process = stage.start(program, awaits=awaits)
        if process.until_ended() != -signal.SIGKILL:
            process.finish()
            return deaths
    raise AssertionError(f"{program} still dies after {RESTARTS_MAX} restarts")
