"""verify, backup, restore, doctor: a store's keeper learns the truth, and what to do."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import CODE, Call
from tests.cli.shop import HASH, fill


def damage(url: str) -> None:
    """Change one letter in a run's record behind the store's back."""
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        done = connection.execute("UPDATE records SET body = replace(body, 'lamp', 'lump') WHERE kind = 'run'")
        assert done.rowcount > 0


def test_verify_counts_and_finds_nothing(call: Call, runs: str) -> None:
    (found,) = call("verify", "--json").documents
    assert (found["is_clean"], found["problems"], found["store"]) == (True, [], runs)
    assert found["events"] > 0
    assert "as it should be" in call("verify").out


def test_a_flipped_letter_is_found_and_says_where(call: Call, runs: str) -> None:
    damage(runs)
    answer = call("verify", "--json")
    assert answer.code == 4
    assert any("run" in problem["where"] for problem in answer.documents[0]["problems"])
    drawn = call("verify")
    assert (drawn.code, "keep this store and the last backup" in drawn.out) == (4, True)
    shown = call("show", "INC-0", "--json")
    assert (shown.code, '"error":"Corrupt"' in shown.err) == (4, True)
    assert call("backup", "copy.db").code == 4
    assert not Path("copy.db").exists()


def test_what_is_damaged_is_repaired_in_words(call: Call, runs: str) -> None:
    before = call("show", "INC-0", "--json").documents
    assert "nothing is damaged" in call("repair").out
    damage(runs)
    (found,) = call("repair", "--json").documents
    assert (found["is_clean"], found["problems"]) == (True, [])
    assert all("proven by its digest" in words for words in found["done"])
    assert call("show", "INC-0", "--json").documents == before
    with contextlib.closing(sqlite3.connect(runs.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE records SET body = '{}' WHERE kind = 'ticket'")
    answer = call("repair")
    assert (answer.code, "not repaired" in answer.out, "problems are left" in answer.out) == (4, True, True)


def test_a_backup_comes_back_whole(call: Call, runs: str) -> None:
    before = call("ps", "--all", "--json").documents
    assert call("backup", "copy.db", "--json").documents[0]["is_clean"]
    Path("copies").mkdir()
    assert call("backup", "copies").code == 0
    assert len(list(Path("copies").iterdir())) == 1
    call("cancel", "INC-0")
    refused = call("restore", "copy.db")
    assert (refused.code, "empty store" in refused.err) == (1, True)
    assert call("restore", "copy.db", "--overwrite").code == 0
    assert call("ps", "--all", "--json").documents == before
    assert call("restore", "copy.db", "--store", "sqlite:///fresh.db").code == 0
    assert call("ps", "--all", "--json", "--store", "sqlite:///fresh.db").documents == before


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["backup", "no/such/copy.db"], 2, "make it"),
        (["backup", "runs.db"], 2, "another file than the store's own"),
        (["restore", "nothing.db"], 1, "saw none at"),
        (["verify", "--store", "sqlite:///nowhere.db"], 3, "say where it is"),
    ],
)
def test_keepers_are_told_what_to_do(call: Call, runs: str, words: list[str], code: int, message: str) -> None:
    answer = call(*words)
    assert (answer.code, message in answer.err) == (code, True)


def test_trim_says_what_would_go_then_removes_it_and_nothing_else(call: Call, runs: str) -> None:
    call("cancel", "INC-0")
    call("cancel", "INC-2")
    before = call("ps", "--all", "--json").documents
    kept = call("trim", "--older-than", "1d", "--json").documents[0]
    assert (kept["runs"], kept["rows"], kept["is_dry_run"]) == (0, 0, False)
    would = call("trim", "--older-than", "1ms", "--dry-run", "--json").documents[0]
    assert (would["runs"], would["is_dry_run"], would["store"]) == (2, True, runs)
    assert "2 runs, 0 signals, 0 notices and" in call("trim", "--older-than", "1ms", "--dry-run").out
    assert call("ps", "--all", "--json").documents == before
    events = call("verify", "--json").documents[0]["events"]
    went = call("trim", "--older-than", "1ms", "--json").documents[0]
    assert (went["runs"], went["rows"]) == (2, would["rows"])
    assert [line["ticket"] for line in call("ps", "--all", "--json").documents] == ["INC-1"]
    found = call("verify", "--json").documents[0]
    assert (found["is_clean"], found["events"]) == (True, events - went["rows"])
    assert call("show", "INC-0").code == 1


def test_trim_shortens_living_journals_only_if_asked(call: Call, runs: str) -> None:
    for _ in range(10):  # beyond a snapshot, from which the rest can be rebuilt
        call("pause", "INC-1")
        call("resume", "INC-1")
    rows = len(call("history", "INC-1", "--json").documents)
    assert call("trim", "--older-than", "1ms", "--json").documents[0]["rows"] == 0
    would = call("trim", "--older-than", "1ms", "--keep", "2", "--dry-run", "--json").documents[0]
    went = call("trim", "--older-than", "1ms", "--keep", "2", "--json").documents[0]
    assert 0 < went["rows"] == would["rows"]
    assert len(call("history", "INC-1", "--json").documents) < rows
    assert call("verify").code == 0
    for words in (["--older-than", "soon"], ["--older-than", "0s"], ["--older-than", "1d", "--keep", "0"]):
        assert call("trim", *words).code == 2


def test_doctor_finds_what_stands_still(call: Call, runs: str) -> None:
    call("pause", "INC-1")
    call("approve", "INC-0", "--about", HASH[:7], *CODE)
    answer = call("doctor", "--json")
    (found,) = answer.documents
    status = {check["name"]: check["status"] for check in found["checks"]}
    assert (answer.code, found["status"]) == (1, "red")
    assert status == {
        "store": "green", "clock": "green", "processes": "red", "progress": "green", "failed": "red",
        "paused": "green", "locks": "green", "backup": "degraded",
    }  # fmt: skip
    assert {run["ticket"]: run["status"] for run in found["facts"]["runs"]} == {
        "INC-0": "running", "INC-1": "paused", "INC-2": "failed",
    }  # fmt: skip
    assert "their retries are spent" in call("doctor").out


def test_doctor_is_content_with_an_idle_store(call: Call, store: str) -> None:
    asyncio.run(fill(store))
    answer = call("doctor", "--json")
    assert (answer.code, answer.documents[0]["status"]) == (0, "green")
    assert "no live run" in call("doctor").out
