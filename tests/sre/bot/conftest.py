"""Workspaces for the bot, made once and copied for each test, on memory and on SQLite."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast import Engine
from holdfast.store.memory import MemoryStore
from holdfast.store.open import open_store
from holdfast_sre.cli.workspace import demo_workspace, open_world
from holdfast_sre.flow.bot import workflow_for
from holdfast_sre.flow.world import World
from tests.engine.journal import check_everything
from tests.sre.bot.bench import Bench, Counting, OpenBench


@pytest.fixture(scope="session")
def demo_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the demo's incident, as it is before the bot begins."""
    folder = tmp_path_factory.mktemp("demo") / "workspace"
    asyncio.run(demo_workspace(folder, now_s=time.time()))
    return folder


@pytest.fixture
def workspace(demo_template: Path, tmp_path: Path) -> Path:
    """A copy of the demo's workspace."""
    return Path(shutil.copytree(demo_template, tmp_path / "workspace"))


@pytest.fixture(params=["memory", "sqlite"])
async def open_bench(request: pytest.FixtureRequest, workspace: Path) -> AsyncIterator[OpenBench]:
    """Opens a bench; all of one test share a store, which must be clean and true to its journal in the end."""
    async with AsyncExitStack() as stack:
        store = MemoryStore() if request.param == "memory" else open_store(f"sqlite:///{workspace / 'holdfast.db'}")
        stack.push_async_callback(store.close)
        stack.push_async_callback(check_everything, store)

        async def open_one(change: Callable[[World], World] = lambda world: world) -> Bench:
            calls: Counter[str] = Counter()
            world = change(await open_world(workspace))
            world = replace(world, repository=Counting(world.repository, calls), reviews=Counting(world.reviews, calls))
            engine = await stack.enter_async_context(Engine(store, workflow_for(world)))
            return Bench(workspace, engine, world, calls)

        yield open_one


ON_MEMORY = pytest.mark.parametrize("open_bench", ["memory"], indirect=True)
