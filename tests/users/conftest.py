"""Stores of every kind under users' work, and the simplest thing that can run an agent."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from holdfast import UserExecutionContext
from holdfast.store.contract.protocol import OpenStore
from holdfast.store.open import open_store
from holdfast.testing.servers import ValkeyServer

KINDS = ("memory", "sqlite", "postgres", "mirror")
PATIENCE_S = 30.0


def context(user: str = "ana", tenant: str = "acme", **more: Any) -> UserExecutionContext:
    """A context of `user`."""
    return UserExecutionContext(user=user, tenant=tenant, **more)


async def until(condition: Callable[[], Any], what: str) -> None:
    """Until `condition` holds; fails after 30 s."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - nobody tells when it holds
            await asyncio.sleep(0.001)
    assert condition(), what


class Told(NamedTuple):
    """An event of a call."""

    kind: str
    agent: str
    call: str
    number: int
    facts: dict[str, Any]


class DirectCore:
    """A core that awaits an agent, which is an async function of (context, value, emit) or has such a `run`."""

    async def execute(self, context: UserExecutionContext, agent: Any, value: Any = None, *, emit: Any = None) -> Any:
        numbers = itertools.count(1)

        def tell(kind: str, facts: dict[str, Any]) -> None:
            emit(Told(kind, "some-agent", "call-1", next(numbers), facts))

        tell("started", {})
        result = await getattr(agent, "run", agent)(context, value, tell)
        tell("finished", {})
        return result


def store_url(request: pytest.FixtureRequest, kind: str, folder: Path) -> str:
    """The URL of a fresh store of that kind."""
    if kind == "memory":
        return "memory:"
    if kind == "sqlite":
        return f"sqlite:///{folder / 'store.db'}"
    database: str = request.getfixturevalue("database")
    if kind == "postgres":
        return database
    valkey: ValkeyServer = request.getfixturevalue("valkey_server")
    return f"hybrid+{database}?cache={valkey.url}"


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh place of each kind."""
    return store_url(request, request.param, tmp_path)


@pytest.fixture
async def store(url: str) -> AsyncIterator[OpenStore]:
    """A fresh store of each kind."""
    opened = open_store(url)
    await opened.migrate()
    yield opened
    await opened.close()


@pytest.fixture
async def memory() -> AsyncIterator[OpenStore]:
    """A store in memory."""
    opened = open_store("memory:")
    yield opened
    await opened.close()


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[OpenStore]:
    """A store in a file."""
    opened = open_store(f"sqlite:///{tmp_path / 'one.db'}")
    yield opened
    await opened.close()
