"""One fixture for the engine's tests: labs on memory, on memory with nothing cached, on SQLite and on PostgreSQL.

When a test is over its stores are verified, and every run is compared with what its journal says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from holdfast import Workflow
from holdfast.store.memory import MemoryStore
from holdfast.store.open import open_store
from holdfast.testing import Lab, VirtualClock
from tests.engine.journal import check_everything
from tests.engine.labs import OpenLab


@pytest.fixture(params=["memory", "cold", "sqlite"])
async def open_lab(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenLab]:
    """A function that opens a lab with the given workflows and options, on a fresh store of the parameter's kind."""
    kind: str = request.param
    database = request.getfixturevalue("database") if kind == "postgresql" else ""
    async with AsyncExitStack() as stack:

        async def open_one(*workflows: Workflow, **options: Any) -> Lab:
            clock = VirtualClock()
            if kind == "postgresql":
                store = open_store(database, clock=clock)
            elif kind == "sqlite":
                store = open_store(f"sqlite:///{tmp_path / 'runs.db'}", clock=clock)
            else:
                store = MemoryStore(clock=clock)
            stack.push_async_callback(store.close)
            stack.push_async_callback(check_everything, store)
            lab = Lab(*workflows, clock=clock, store=store, is_cold=kind == "cold", **options)
            return await stack.enter_async_context(lab)

        yield open_one
