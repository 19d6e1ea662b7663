"""What whoever is asked for a verdict sees of a diff, how the commands that he may type next are called, and how long
lines are told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text
from typer.testing import CliRunner

from holdfast_sre.__main__ import app
from holdfast_sre.cli.diff_view import NEW_LINES_MAX, in_short
from holdfast_sre.cli.terminal import command_name
from holdfast_sre.cli.watch import _question
from holdfast_sre.flow.incident import Incident
from holdfast_sre.telling import tell

CHANGE = """\
diff --git a/apps/booking.yaml b/apps/booking.yaml
index 53162dba..8af74f71 100644
--- a/apps/booking.yaml
+++ b/apps/booking.yaml
@@ -40,2 +40,2 @@ spec:
-index 64Mi
--- /dev/null
+  memory: 256Mi
"""


def new_file(path: str, lines: int) -> str:
    """The diff of a new file."""
    body = "".join(f"+line {number}\n" for number in range(lines))
    header = f"diff --git a/{path} b/{path}\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n"
    return f"{header}@@ -0,0 +1,{lines} @@\n{body}"


def test_a_generated_test_is_told_by_its_name_and_the_change_is_whole() -> None:
    shown, remarks = in_short(CHANGE + new_file("holdfast-checks/test_a.py", 187))
    assert shown == CHANGE.replace("index 53162dba..8af74f71 100644\n", "").rstrip()
    assert remarks == ["and a new test of 187 lines: holdfast-checks/test_a.py"]


@pytest.mark.parametrize(
    "diff",
    [
        new_file("apps/new.yaml", 187),
        new_file("holdfast-checks/test_a.py", NEW_LINES_MAX),
        CHANGE.replace("apps/", "holdfast-checks/").replace("index 53162dba..8af74f71 100644\n", ""),
    ],
    ids=["a new manifest", "a short test", "a changed test"],
)
def test_whatever_else_changes_is_shown_whole(diff: str) -> None:
    assert in_short(diff) == (diff.rstrip(), [])


@pytest.mark.parametrize("can_ask_for_more", [True, False])
def test_who_cannot_ask_for_the_rest_gets_it_at_once(can_ask_for_more: bool) -> None:
    incident = Incident(diff=CHANGE + new_file("holdfast-checks/test_a.py", 187), pull=7)
    console = Console(width=100)
    with console.capture() as captured:
        console.print(_question(incident, can_ask_for_more=can_ask_for_more))
    assert ("line 186" in captured.get(), "a new test of 187 lines" in captured.get()) == (
        not can_ask_for_more,
        can_ask_for_more,
    )


def test_a_command_that_is_on_no_path_is_told_by_its_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    beside = Path(sys.executable).with_name("holdfast-sre")
    monkeypatch.setenv("PATH", str(beside.parent))
    assert command_name() == "holdfast-sre"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command_name() == str(beside)


def test_the_bot_tells_its_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout.startswith("holdfast-sre 0.")


@pytest.mark.parametrize(
    ("is_terminal", "expected"),
    [(False, ["  note: one two three"]), (True, ["  note: one two", "        three"])],
)
def test_a_long_line_is_whole_in_a_file_and_folded_below_itself_in_a_terminal(
    is_terminal: bool, expected: list[str]
) -> None:
    console = Console(width=18, force_terminal=is_terminal, no_color=True)
    with console.capture() as captured:
        tell(console, Text("  note: "), Text("one two three"))
    assert [line.rstrip() for line in captured.get().splitlines()] == expected
