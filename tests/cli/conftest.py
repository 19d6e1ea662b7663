"""A store with runs, and the program called on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from holdfast.__main__ import app
from tests.cli.shop import fill

CODE = ("--app", "tests.cli.shop:workflow")


class Answer(NamedTuple):
    """What a call of the program gave."""

    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[Any]:
        """The JSON lines of the answer."""
        return [json.loads(line) for line in self.out.splitlines()]


Call = Callable[..., Answer]


@pytest.fixture
def store(tmp_path: Path) -> str:
    """The URL of a store that is not there yet."""
    return f"sqlite:///{tmp_path}/runs.db"


@pytest.fixture
def call(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call the program in a folder of its own, on `store`, as user "bob" of the system."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOLDFAST_STORE", store)
    monkeypatch.setenv("LOGNAME", "bob")
    monkeypatch.setenv("COLUMNS", "200")

    def called(*words: str) -> Answer:
        done = CliRunner().invoke(app, words)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Answer(done.exit_code, done.stdout, done.stderr)

    return called


@pytest.fixture
def runs(store: str) -> str:
    """A store with INC-0 in review, INC-1 waiting for a retry, INC-2 failed; all of user "ana"."""
    asyncio.run(fill(store, "lamp", "flaky", "broken"))
    return store
