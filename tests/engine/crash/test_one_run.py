"""One run, killed at every place where it hurts: what was done is not done again, what was promised happens."""

from __future__ import annotations

import pytest

from holdfast import codec
from tests.engine.crash.findings import Found, examine, memo_names
from tests.engine.crash.processes import Stage

LINE = [("", "first"), ("first", "second"), ("second", "third"), ("third", "done")]

RESCUE = [
    ("", "work"),
    ("work", "error_handling:error_detection"),
    ("error_handling:error_detection", "error_handling:retry_evaluation"),
    ("error_handling:retry_evaluation", "error_handling:escalation"),
    ("error_handling:escalation", "mending"),
]


def test_a_step_whose_memo_is_durable_is_not_run_again(stage: Stage) -> None:
    """Killed when the second memo of `first` is on the disk and its transition is not."""
    stage.start("line", starts=1, awaits=1, holds=("rest",), fault="memo:2:kill").until_killed()
    assert examine(stage.url)["T-0"].transitions == LINE[:1]
    stage.run("line", awaits=1)
    found = examine(stage.url)["T-0"]
    assert found.transitions == LINE
    assert found.count("recovered") == 1
    assert _bodies(stage) == ["a", "b", "c", "d"]


def test_a_body_that_was_cut_off_runs_once_more_with_the_same_key(stage: Stage) -> None:
    """Killed from outside while the body of b is at work: its effect is in the world, its memo is not."""
    process = stage.start("line", starts=1, awaits=1, holds=("b",))
    process.until_line("b")
    process.kill()
    stage.run("line", awaits=1)
    assert _bodies(stage) == ["a", "b", "b", "c", "d"]
    key, again = stage.ledger.keys("b")
    assert key == again == f"{examine(stage.url)['T-0'].run.id}/first#1/b"


def test_a_run_exists_and_executes_once_start_has_returned(stage: Stage) -> None:
    stage.start("line", starts=1, dies=True).until_killed()
    stage.run("line", awaits=1)
    assert _ended(examine(stage.url)["T-0"]) == {"a": "a", "b": "b", "c": "c", "d": "d"}


@pytest.mark.parametrize(
    ("fault", "taken", "bodies_after"),
    [
        ("before-transition:1:kill", 0, "abcd"),
        ("transition:1:kill", 1, "abcd"),
        ("before-transition:2:kill", 1, "cd"),
        ("transition:2:kill", 2, "cd"),
        ("before-transition:3:kill", 2, "cd"),
        ("transition:3:kill", 3, "d"),
        ("before-transition:4:kill", 3, "d"),
        ("transition:4:kill", 4, ""),
    ],
)
def test_a_kill_on_either_side_of_a_transition_takes_it_once(
    stage: Stage, fault: str, taken: int, bodies_after: str
) -> None:
    """The n-th transition is under way: it is in the journal once, and no state that was left runs a body again."""
    stage.start("line", starts=1, awaits=1, fault=fault).until_killed()
    before = examine(stage.url)
    assert len(before["T-0"].transitions if before else []) == taken
    seen = len(_bodies(stage))
    stage.run("line", starts=1, awaits=1)
    assert examine(stage.url)["T-0"].transitions == LINE
    assert "".join(_bodies(stage)[seen:]) == bodies_after


def test_the_world_sees_one_key_however_often_a_fused_step_runs(stage: Stage) -> None:
    """The memo of c and the transition are one commit: killed before it, c runs again, with the same key."""
    for _ in range(2):
        stage.start("line", starts=1, awaits=1, fault="before-transition:3:kill").until_killed()
    stage.run("line", awaits=1)
    assert len(set(stage.ledger.keys("c"))) == 1


def test_a_memo_that_comes_late_belongs_to_its_visit(stage: Stage) -> None:
    """The memo of b takes 500 ms to the disk and the process dies at the next transition but one: the leaf that had
    finished does not run again, and its memo did not come after it was left."""
    stage.start("late_memo", starts=1, awaits=1, fault="before-transition:3:kill").until_killed()
    assert len(stage.ledger.lines("delayed")) == 1
    assert examine(stage.url)["T-0"].transitions == LINE[:2]
    assert memo_names(stage.url) == []
    stage.run("line", awaits=1)
    assert examine(stage.url)["T-0"].transitions == LINE
    assert _bodies(stage) == ["a", "b", "c", "c", "d"]


def test_a_memo_that_comes_late_holds_the_next_body_up(stage: Stage) -> None:
    """Killed while the memo of a is on its way: b, which would have built on it, has not begun."""
    stage.start("late_memo", starts=1, awaits=1, fault="before-memo:1:kill").until_killed()
    assert _bodies(stage) == ["a"]


@pytest.mark.parametrize(
    ("fault", "bodies"),
    [
        ("before-memo:1:kill", ["a", "a", "c"]),
        ("memo:1:kill", ["a", "c"]),
        ("before-transition:2:kill", ["a", "c"]),
        ("transition:2:kill", ["a", "c"]),
    ],
)
def test_large_results_and_blobs_survive_a_kill(stage: Stage, fault: str, bodies: list[str]) -> None:
    """A result of 3 MB is in chunks: all of them are there with its memo, or none. What the run keeps stays readable,
    what belonged to the visit is gone with it."""
    stage.start("large", starts=1, awaits=1, fault=fault).until_killed()
    stage.run("large", awaits=1)
    assert _bodies(stage) == bodies
    found = examine(stage.url)["T-0"]
    assert codec.decode(found.run.data)["seen"] == 3_000_000
    assert memo_names(stage.url) == []
    left = {name.rpartition("/")[0] for name in memo_names(stage.url, kind="blob")}
    assert left == {codec.decode(found.run.data)["report"]["id"]}


def test_an_error_handler_that_is_killed_runs_again_and_the_failed_state_does_not(stage: Stage) -> None:
    process = stage.start("rescue", starts=1, awaits=1, holds=("mend",))
    process.until_line("mend")
    process.kill()
    stage.run("rescue", awaits=1)
    found = examine(stage.url)["T-0"]
    assert found.transitions == [*RESCUE, ("mending", "mended")]
    assert _bodies(stage) == ["break", "mend", "mend"]
    assert len(set(stage.ledger.keys("mend"))) == 1


def test_an_error_handler_that_raises_is_retried_and_the_failed_state_is_not(stage: Stage) -> None:
    """The handler of the error fails once by itself; its retry is its own."""
    stage.run("rescue", starts=1, awaits=1, holds=("clumsy",))
    found = examine(stage.url)["T-0"]
    assert _bodies(stage) == ["break", "mend", "mend"]
    assert [row for row in found.transitions if row[0].startswith("mending")] == [
        ("mending", "error_handling:error_detection"),
        ("mending", "mended"),
    ]
    assert found.transitions[: len(RESCUE)] == RESCUE


def _bodies(stage: Stage) -> list[str]:
    return [line.what for line in stage.ledger.lines() if line.key]


def _ended(found: Found) -> object:
    assert (found.run.status, found.run.outcome, found.owner) == ("done", "done", "")
    return codec.decode(found.run.data)
