"""migrate: a store moves with everything in it, and whoever asks for what cannot be is told why."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast import faults
from tests.cli.conftest import CODE, Call
from tests.cli.shop import HASH, fill, work_off
from tests.cli.test_keeping import damage
from tests.cli.test_program import SECONDS_MAX

NEW = "sqlite:///new.db"


def test_runs_that_wait_go_on_in_the_copy(call: Call, runs: str) -> None:
    before = call("ps", "--all", "--json").documents
    (done,) = call("migrate", runs, NEW, "--json").documents
    assert (done["from"], done["to"], done["is_resumed"], done["removed"]) == (runs, NEW, False, 0)
    (found,) = call("verify", "--json", "--store", NEW).documents
    assert (found["records"], found["events"]) == (done["records"], done["events"])
    assert call("ps", "--all", "--json", "--store", NEW).documents == before, "states, dues, versions: all of it"
    assert call("approve", "INC-0", "--about", HASH[:7], "--store", NEW, *CODE).code == 0
    call("approve", "INC-0", "--store", NEW, *CODE)
    asyncio.run(work_off(NEW, "INC-0"))
    (ended,) = [line for line in call("ps", "--all", "--json", "--store", NEW).documents if line["ticket"] == "INC-0"]
    assert (ended["where"], ended["status"]) == (["shipped"], "done")
    assert call("ps", "--all", "--json").documents == before, "the source stays as it was"


def test_people_are_told_what_was_copied_and_what_comes_next(call: Call, runs: str) -> None:
    told = call("migrate", runs, NEW)
    assert told.code == 0
    assert "each read back" in told.out
    assert "start the engines on it" in told.out


def test_a_migration_that_stopped_is_told_of_and_goes_on(call: Call, runs: str) -> None:
    faults.plan("copy-adopt:1:raise")
    try:
        assert call("migrate", runs, NEW).code == 3
    finally:
        faults.plan("")
    half = call("ps", "--store", NEW)
    assert (half.code, "finish it by the same `holdfast migrate`" in half.err) == (1, True)
    (found,) = call("doctor", "--json", "--store", NEW).documents
    assert {check["name"]: check["status"] for check in found["checks"]}["copy"] == "red"
    asyncio.run(fill("sqlite:///other.db", "lamp"))
    other = call("migrate", "sqlite:///other.db", NEW)
    assert (other.code, "unfinished copy of" in other.err) == (1, True)
    assert call("migrate", runs, NEW, "--json").documents[0]["is_resumed"]
    assert call("ps", "--store", NEW).code == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["runs", "runs"], 2, "the same one as source and target"),
        (["runs", "runs", "--overwrite"], 2, "the same one as source and target"),
        (["sqlite:///nowhere.db", NEW], 3, "say where it is"),
        (["memory:", NEW], 2, "outlives a process"),
        (["runs", "memory:"], 2, "outlives a process"),
        (["runs", "sqlite:///held.db"], 1, "expected an empty store, saw"),
        (["runs", "sqlite:///newer.db"], 3, "written by a newer holdfast"),
        (["sqlite:///newer.db", NEW], 3, "written by a newer holdfast"),
        (["runs", "mysql://ana:geheim@host/runs"], 2, "known schemes"),
    ],
)
def test_what_cannot_be_copied_is_refused(call: Call, runs: str, words: list[str], code: int, message: str) -> None:
    asyncio.run(fill("sqlite:///held.db", "lamp"))
    asyncio.run(fill("sqlite:///newer.db", "lamp"))
    with contextlib.closing(sqlite3.connect("newer.db")) as connection:
        connection.execute("PRAGMA user_version = 999")
    before = call("ps", "--all", "--json", "--store", "sqlite:///held.db").documents
    answer = call("migrate", *(runs if word == "runs" else word for word in words))
    assert (answer.code, message in answer.err) == (code, True), answer.err
    assert "geheim" not in answer.err
    assert call("ps", "--all", "--json", "--store", "sqlite:///held.db").documents == before


def test_a_damaged_store_is_not_spread(call: Call, runs: str) -> None:
    damage(runs)
    answer = call("migrate", runs, NEW)
    assert (answer.code, "repair it, or restore a backup of it" in answer.err) == (4, True)
    assert call("verify", "--json", "--store", NEW).documents[0]["records"] == 0


def test_a_terminal_sees_how_far_it_has_come(runs: str, tmp_path: Path) -> None:
    """In a terminal of its own; what is printed elsewhere stays free of it."""
    words = [sys.executable, "-W", "error", "-m", "holdfast", "migrate", runs, f"sqlite:///{tmp_path}/new.db"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # how the kernel says that the other side is closed
        while part := os.read(ours, 4096):
            seen += part
    out, _ = process.communicate(timeout=SECONDS_MAX)
    os.close(ours)
    assert process.returncode == 0, seen
    assert b"copying" in seen
    assert b"reading back" in seen
    assert b"copying" not in out
    assert b"each read back" in out
