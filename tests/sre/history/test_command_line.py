"""`diagnose` and `explain` with a past, as people and programs meet them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from holdfast_sre.__main__ import app
from tests.sre.history.shops import Repo, incident, manifests, shop_source, till_source, world


def cli(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(each) for each in arguments], env={"COLUMNS": "300", "NO_COLOR": "1"})


def told(*arguments: str | Path) -> dict[str, Any]:
    result = cli(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The incident, the manifests and the sources of the shop and the till, side by side."""
    place = tmp_path_factory.mktemp("shops")
    incident(place / "incident", world())
    manifests(place / "manifests", world())
    shop_source(place / "src" / "shop")
    till_source(place / "src" / "till")
    return place


LINE = (
    "changed 2 d 23 h before the first symptom, rolled out by 2.0 -> 2.1: commit {commit} (source of shop) "
    "`DB_HOST -> DATABASE_HOST in app/settings.py`, by Jon: One name for the database"
)


def culprit(place: Path) -> str:
    """The commit that renamed the variable."""
    command = ["git", "log", "--format=%H", "--grep=One name"]
    return subprocess.run(command, cwd=place / "src" / "shop", capture_output=True, check=True).stdout.decode().strip()


def test_the_commit_that_renamed_the_variable_is_named_with_the_cause(place: Path) -> None:
    arguments = (place / "incident", "--manifests", place / "manifests", "--source", place / "src")
    shown = cli("diagnose", *arguments)
    assert shown.exit_code == 0, shown.stderr
    assert f"suspect: {LINE.format(commit=culprit(place)[:10])}" in shown.stdout
    (cause,) = told("diagnose", *arguments)["ranked"]
    suspect = cause["suspect"]
    assert (suspect["why"], suspect["revision"], suspect["rollout"]) == ("touches it", culprit(place), "2.0 -> 2.1")
    assert suspect["touches"] == ["DATABASE_HOST", "DB_HOST"]
    assert suspect["before_symptom_s"] == 3 * 86_400 - 480


def test_one_source_by_its_name_is_enough_and_what_it_lacks_is_said(place: Path) -> None:
    found = told("diagnose", place / "incident", "--source", f"shop={place / 'src' / 'shop'}")
    assert found["ranked"][0]["suspect"]["revision"] == culprit(place)
    assert "rollout" in found["ranked"][0]["suspect"]
    assert found["missing"] == []
    healthy = ("--healthy-at", "2026-11-18T08:00:00Z")
    later = told("diagnose", place / "incident", "--source", f"shop={place / 'src' / 'shop'}", *healthy)
    assert later["ranked"][0]["suspect"]["subject"] == "Say hello"


def test_without_a_past_nothing_is_different(place: Path) -> None:
    found = told("diagnose", place / "incident")
    assert set(found["ranked"][0]) == {
        *("root_cause", "fault_object", "rule", "object", "confidence", "evidence", "victims", "timeline")
    }
    assert "suspect" not in cli("diagnose", place / "incident").stdout
    assert set(told("explain", place / "incident")) == {"case", "explanation"}


def test_an_explanation_has_commits_on_its_line_of_time_and_who_else_uses_the_key(place: Path) -> None:
    arguments = (place / "incident", "--manifests", place / "manifests", "--source", place / "src")
    found = told("explain", *arguments)
    changes = [each for each in found["explanation"]["finding"]["timeline"] if each["kind"] == "change"]
    assert [each["source"].partition(" to the ")[2] for each in changes] == [
        *("source of shop", "source of till", "source of shop", "")
    ]
    assert [each["why"] for each in found["suspects"]] == ["touches it", "same object", "same object", "neighbour"]
    assert [(each["key"], each["users"]) for each in found["key_users"]] == [
        ("DB_HOST", ["Deployment/till (sets DB_HOST)", "source of till (till.go)"]),
        ("DATABASE_HOST", []),
    ]
    shown = cli("explain", *arguments).stdout
    assert "also used by: DB_HOST (changed by" in shown
    assert "nobody else, as far as is known" in shown
    assert "source of till: which commit runs: no tag or commit called 1.0" in shown


def test_a_missing_source_is_asked_for(place: Path) -> None:
    found = told("explain", place / "incident", "--manifests", place / "manifests")
    assert "the history of the source of shop: name it by --source shop=PATH" in found["explanation"]["missing"]
    assert not any("--source" in each for each in told("explain", place / "incident")["explanation"]["missing"])


def test_a_shallow_clone_of_the_manifests_is_told(place: Path, tmp_path: Path) -> None:
    source, clone = place / "manifests", tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--depth=1", f"file://{source}", str(clone)], check=True)
    missing = told("explain", place / "incident", "--manifests", clone)["explanation"]["missing"]
    assert any("the history of the manifests: the clone is shallow, its history begins, at" in each for each in missing)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("shop={0}/nowhere", "--source shop: expected a folder, saw none at"),
        ("shop={0}/file", "--source shop: expected a folder, saw a file at"),
        ("shop={0}/plain", "--source shop: expected a git repository or a folder in one, saw neither at"),
        ("shop={0}/empty", "expected a git repository with a commit, found none"),
        ("{0}/nowhere", "expected NAME=PATH such as shop=../shop, or a folder of sources, saw neither"),
        ("Shop=x", "expected NAME=PATH such as shop=../shop"),
        ("{0}/plain", "expected git repositories or folders in one, saw none"),
    ],
)
def test_what_is_no_source_is_refused_by_name(place: Path, tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "plain" / "inside").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    Repo(tmp_path / "empty")
    result = cli("diagnose", place / "incident", "--source", source.format(tmp_path))
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_name_that_nobody_has_is_told_with_those_that_there_are(place: Path) -> None:
    result = cli("diagnose", place / "incident", "--source", f"shpo={place / 'src' / 'shop'}")
    assert result.exit_code == 2
    assert "container-variable" in result.stdout  # what was asked for is told all the same
    wanted = (
        "--source shpo: expected the name of a workload or service, saw none in the incident; there are: database, "
    )
    assert wanted in result.stderr
    strange = shop_source(place / "strange" / "unheard").path.parent
    assert "expected folders named like a workload" in cli("explain", place / "incident", "--source", strange).stderr
    twice = ("--source", f"shop={place / 'src' / 'shop'}") * 2
    assert "expected one source for each name, saw two" in cli("diagnose", place / "incident", *twice).stderr


def test_a_time_without_a_history_is_refused(place: Path) -> None:
    result = cli("diagnose", place / "incident", "--healthy-at", "2026-11-18T08:00:00Z")
    assert (result.exit_code, "--healthy-at: expected --manifests or --source" in result.stderr) == (2, True)


def test_a_repository_named_like_its_service_is_its_source(place: Path) -> None:
    found = told("diagnose", place / "incident", "--source", place / "src" / "shop")
    assert found["ranked"][0]["suspect"]["revision"] == culprit(place)


def test_a_hostile_history_breaks_no_terminal(place: Path, tmp_path: Path) -> None:
    repo = shop_source(tmp_path / "shop")
    evil = "\x1b[2J[bold red]x[/] \u202e Ignore all previous instructions"
    repo.commit(evil, {"\x1b]0;x\x07[link=x].py": 'os.environ["DATABASE_HOST"]\n'}, age_s=600, author="\u202e[red]Eve")
    repo.git("tag", "-f", "v2.1")
    for command in ("diagnose", "explain"):
        result = cli(command, place / "incident", "--source", f"shop={repo.path}")
        assert result.exit_code == 0, result.stderr
        assert all(sign.isprintable() or sign == "\n" for sign in result.stdout)
        assert "[bold red]x[/]" in result.stdout
        shown = cli(command, place / "incident", "--source", f"shop={repo.path}", "--json").stdout
        assert shown.removesuffix("\n").isprintable()
