"""A stage for each test, on each back end in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.crash.processes import FILE, Stage, staged


def url_of(back_end: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """Where a fresh store of a kind is."""
    if back_end == "sqlite":
        return f"{FILE}{folder / 'runs.db'}"
    if back_end == "redis":
        server, namespace = request.getfixturevalue("valkey_server"), request.getfixturevalue("namespace")
        return f"{server.url}?namespace={namespace}"
    url: str = request.getfixturevalue("database")
    if back_end == "mirror":
        return f"hybrid+{url}?cache={request.getfixturevalue('valkey_server').url}"
    assert back_end == "postgresql"
    return url


@pytest.fixture(params=["sqlite", "postgresql", "mirror"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """A store, a ledger, and programs that end with the test."""
    with staged(tmp_path, url_of(request.param, request, tmp_path)) as stage:
        yield stage
