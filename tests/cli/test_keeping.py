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
    assert (drawn.code, "keep this file and the last backup" in drawn.out) == (4, True)
    shown = call("show", "INC-0", "--json")
    assert (shown.code, '"error":"Corrupt"' in shown.err) == (4, True)
    assert call("backup", "copy.db").code == 4
    assert not Path("copy.db").exists()


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


def test_doctor_finds_what_stands_still(call: Call, runs: str) -> None:
    call("pause", "INC-1")
    call("approve", "INC-0", "--about", HASH[:7], *CODE)
    answer = call("doctor", "--json")
    (found,) = answer.documents
    status = {check["name"]: check["status"] for check in found["checks"]}
    assert (answer.code, found["status"]) == (1, "red")
    assert status == {
        "store": "green", "clock": "green", "processes": "red", "progress": "green", "failed": "red",
        "paused": "green", "locks": "green",
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
