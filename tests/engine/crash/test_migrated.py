"""Runs whose store is copied into another one, by a process that is killed on the way; they go on over there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast import faults
from holdfast.store.upkeep.copy import PAGE_KEYS_MAX
from tests.engine.crash.findings import examine, memo_names
from tests.engine.crash.processes import FILE, LIMIT_S, Stage, staged
from tests.store.places import handed_out

SAME, ANOTHER = "same kind", "another kind"


def migrate(source: Stage, target: Stage, *options: str, fault: str = "") -> subprocess.CompletedProcess[str]:
    """`holdfast migrate` from the store of one stage into that of another."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "holdfast", "migrate", source.url, target.url, "--json", *options],
        env={**os.environ, faults.VARIABLE: fault},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.fixture(params=[SAME, ANOTHER])
def there(request: pytest.FixtureRequest, stage: Stage, tmp_path: Path) -> Iterator[Stage]:
    """Where the runs move to: a store of the same kind, or of another one."""
    folder = tmp_path / "there"
    folder.mkdir()
    is_file = stage.url.startswith(FILE) == (request.param == SAME)
    with (
        handed_out(request, folder) as places,
        staged(folder, places.url("sqlite" if is_file else "postgres")) as there,
    ):
        yield there


def place(stage: Stage) -> str:
    """How messages name the store of a stage: a mirror by the server where its state lives."""
    return stage.url.removeprefix(FILE).removeprefix("hybrid+").partition("?")[0]


to_another_kind = pytest.mark.parametrize("there", [ANOTHER], indirect=True)


def test_a_run_half_way_goes_on_in_the_copy_with_its_steps_done(stage: Stage, there: Stage) -> None:
    """Killed after two steps of its first state, copied, finished elsewhere: no step is done twice."""
    stage.start("line", fault="memo:2:kill", starts=1, awaits=1).until_killed()
    assert stage.ledger.keys("b"), "two steps are done"
    assert len(memo_names(stage.url)) == 2
    before = examine(stage.url)["T-0"]
    done = migrate(stage, there)
    assert done.returncode == 0, done.stderr
    assert examine(there.url) == examine(stage.url)
    there.run("line", awaits=1)
    after = examine(there.url)["T-0"]
    assert after.run.status == "done"
    assert after.rows[: len(before.rows)] == before.rows, "one journal, from before and after the move"
    assert after.epoch > before.epoch
    assert [len(stage.ledger.lines(step)) + len(there.ledger.lines(step)) for step in "abcd"] == [1, 1, 1, 1]
    assert examine(stage.url)["T-0"] == before, "the source is as it was"


@to_another_kind
def test_a_deadline_set_before_the_move_comes_when_it_was_set_for(stage: Stage, there: Stage) -> None:
    """48 hours after it was set in the source, and no earlier."""
    stage.run("deadlines", starts=1)
    due = examine(stage.url)["T-0"].run.due
    assert migrate(stage, there).returncode == 0
    assert examine(there.url)["T-0"].run.due == due
    there.run("deadlines", shift_s=47 * 3600.0)
    assert examine(there.url)["T-0"].run.main_state == "asked"
    there.run("deadlines", shift_s=49 * 3600.0)
    assert examine(there.url)["T-0"].run.main_state == "escalating"


@to_another_kind
@pytest.mark.parametrize("fault", ["copy-page:1", "copy-page:2", "copy-end:1"])
def test_a_migration_that_is_killed_goes_on_and_ends_equal(stage: Stage, there: Stage, fault: str) -> None:
    """Between two pages, at the last of them, and when all is there but not said to be."""
    runs = PAGE_KEYS_MAX // 2 + 10  # two records each, the run and its ticket: two pages
    stage.run("deadlines", starts=runs)
    killed = migrate(stage, there, fault=f"{fault}:kill")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    early = there.start("deadlines")
    assert early.until_ended() != 0, "no engine opens half a copy"
    assert f"unfinished copy of {place(stage)}" in early.said
    done = migrate(stage, there)
    assert (done.returncode, '"is_resumed":true' in done.stdout) == (0, True), done.stderr
    assert examine(there.url) == examine(stage.url)
    assert len(examine(there.url)) == runs
    again = migrate(stage, there)
    assert (again.returncode, "expected an empty store" in again.stderr) == (1, True)


@to_another_kind
def test_no_store_is_copied_while_an_engine_works_on_either(stage: Stage, there: Stage) -> None:
    stage.run("deadlines", starts=1)
    there.run("deadlines")
    for busy in (stage, there):
        process = busy.start("deadlines", stays=True)
        process.until_line("quiet")
        refused = migrate(stage, there, "--overwrite")
        assert (refused.returncode, f"expected no engine at work on {place(busy)}" in refused.stderr) == (1, True)
        process.finish()
    assert migrate(stage, there, "--overwrite").returncode == 0
    assert examine(there.url) == examine(stage.url)
