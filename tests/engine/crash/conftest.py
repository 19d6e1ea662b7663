"""A stage for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.crash.processes import Stage, staged


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A database, a ledger, and programs that end with the test."""
    with staged(tmp_path) as stage:
        yield stage
