"""Managers of shared state on a fresh place of each kind, whose store is verified when a test is over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from holdfast import StateManager, UserExecutionContext
from holdfast.store.memory import MemoryStore
from holdfast.store.open import open_store
from holdfast.testing import VirtualClock
from holdfast.testing.servers import free_port

KINDS = ("memory", "sqlite", "postgres", "redis", "mirror", "mirror-without-its-redis")


class OpenState(Protocol):
    """Opens a manager on this test's place, again and again the same place."""

    async def __call__(self, **options: Any) -> StateManager: ...


@pytest.fixture
def ana() -> UserExecutionContext:
    return UserExecutionContext(user="ana", tenant="acme", run="run-1")


@pytest.fixture
def bob() -> UserExecutionContext:
    """Of the same tenant as Ana."""
    return UserExecutionContext(user="bob", tenant="acme")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty place; "" is memory, where all managers of a test are handed one store."""
    match request.param:
        case "memory":
            return ""
        case "sqlite":
            return f"sqlite:///{tmp_path / 'state.db'}"
        case "redis":
            server = request.getfixturevalue("valkey_server")
            return f"{server.url}?namespace={request.getfixturevalue('namespace')}"
        case "postgres":
            database: str = request.getfixturevalue("database")
            return database
        case "mirror":
            cache = request.getfixturevalue("valkey_server").url
        case _:
            cache = f"redis://127.0.0.1:{free_port()}"
    return f"hybrid+{request.getfixturevalue('database')}?cache={cache}"


@pytest.fixture
async def open_state(url: str) -> AsyncIterator[OpenState]:
    """A function that opens managers; a store of its own for each, but in memory. All is verified in the end."""
    shared: list[MemoryStore] = []
    async with AsyncExitStack() as stack:

        async def open_one(**options: Any) -> StateManager:
            clock = options.get("clock")
            if not url and not shared:
                shared.append(MemoryStore(clock=clock))
            store: Any = shared[0] if not url else open_store(url, clock=clock)
            if url:
                stack.push_async_callback(store.close)
            manager = StateManager(store, **{"sweep_every": None} | options)
            await stack.enter_async_context(manager)
            stack.push_async_callback(check_sound, store)
            return manager

        yield open_one


async def check_sound(store: Any) -> None:
    """Every digest and every chain is right."""
    found = await store.verify()
    assert found.is_clean, found.problems


@pytest.fixture
async def state(open_state: OpenState) -> StateManager:
    return await open_state()
