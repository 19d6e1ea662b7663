"""Two users and every public verb of the room, whatever is in its arguments: nothing of one is read or changed by the
other. The verbs are found, not listed: a new one is covered by itself, or fails here until its arguments are told."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from holdfast import ExecutionEngine, HoldfastError, UserQuota
from holdfast.store.contract.protocol import OpenStore
from holdfast.users.stream import StreamEvent, StreamReader
from tests.users.conftest import DirectCore, context

ANA, BEN = context("ana"), context("ben")
MARKER = "anas-secret"


class Secret:
    """An agent of ana's with something inside that must not come out."""

    def __init__(self) -> None:
        self.is_ended = False

    async def run(self, ctx: Any, value: Any, tell: Any) -> str:
        tell("progress", {"text": MARKER})
        return MARKER

    async def cleanup(self) -> None:
        self.is_ended = True


ARGUMENTS: dict[str, Any] = {
    "agent": MARKER,
    "agents": [MARKER],
    "name": MARKER,
    "value": {"user": "ana", "tenant": "acme"},
    "data": {"user": "ana"},
    "events": [("ana", {"user": "ana"})],
    "after": "1:1",
    "timeout_s": 5.0,
}
"""What ben gives, by the name of the argument: ana's ids wherever an id can stand."""
PARTS = {
    "engine": lambda engine: engine,
    "registry": lambda engine: engine.registry,
    "lifecycle": lambda engine: engine.lifecycle,
    "streams": lambda engine: engine.streams,
    "usage": lambda engine: engine.usage,
}
INSIDE = {("usage", "admit"), ("usage", "spend"), ("usage", "budget"), ("usage", "quota_of")}
"""Of the ledger only `used` is for users; the engine calls the rest with the context that it was given."""
OTHER_ARGUMENTS = {("registry", "register"): {"agent": object(), "name": "mine"}}


def verbs() -> list[tuple[str, str]]:
    """Every public method whose first argument is a context."""

    async def find() -> list[tuple[str, str]]:
        async with ExecutionEngine("memory:", DirectCore()) as engine:
            return [
                (part, name)
                for part, of in PARTS.items()
                for name, method in inspect.getmembers(type(of(engine)), inspect.isfunction)
                if not name.startswith("_")
                and list(inspect.signature(method).parameters)[1:2] == ["context"]
                and (part, name) not in INSIDE
            ]

    return asyncio.run(find())


@pytest.fixture
async def engine(memory: OpenStore) -> AsyncIterator[ExecutionEngine]:
    async with ExecutionEngine(memory, DirectCore(), quota=UserQuota(starts=50, events=500)) as opened:
        opened.registry.register(ANA, MARKER, Secret())
        await opened.run(ANA, MARKER)
        await opened.registry.session(ANA).emitter.flush()
        yield opened


async def print_of(engine: ExecutionEngine) -> list[Any]:
    """All that ana can see of hers."""
    agent = await engine.registry.get(ANA, MARKER)
    used = await engine.usage.used(ANA)
    session = engine.registry.session(ANA)
    metrics = session.metrics()
    reader = engine.stream(ANA, after="0:0")
    events = [await anext(reader) for _ in range(3)]
    rest = asyncio.ensure_future(anext(reader))
    for _ in range(20):
        await asyncio.sleep(0)
    is_quiet = not rest.done()
    rest.cancel()
    await asyncio.gather(rest, return_exceptions=True)
    figures = (metrics.agents, metrics.removed, metrics.events_written, metrics.calls_running)
    return [id(agent), agent.is_ended, used, session.names(), figures, events, is_quiet, engine.statistics(ANA)]


async def outcome(result: Any) -> Any:
    """What a verb gives in the end."""
    if isinstance(result, AbstractAsyncContextManager):
        async with result as entered:
            return entered
    if isinstance(result, StreamReader):
        found = await anext(result)
        assert not isinstance(found, StreamEvent) or MARKER not in str(found.data)
        return found
    return await result if inspect.isawaitable(result) else result


def test_the_verbs_are_found() -> None:
    found = set(verbs())
    assert {("engine", "run"), ("registry", "get"), ("lifecycle", "emergency_clean_up"), ("streams", "stream")} <= found
    assert len(found) > 20


@pytest.mark.parametrize(("part", "verb"), verbs(), ids=[".".join(each) for each in verbs()])
async def test_nothing_of_ana_is_read_or_changed_by_ben(engine: ExecutionEngine, part: str, verb: str) -> None:
    method = getattr(PARTS[part](engine), verb)
    parameters = list(inspect.signature(method).parameters)[1:]
    known = ARGUMENTS | OTHER_ARGUMENTS.get((part, verb), {})
    assert set(parameters) <= set(known), f"{part}.{verb}: tell what ben gives for {set(parameters) - set(known)}"
    before = await print_of(engine)
    try:
        seen = await outcome(method(BEN, **{name: known[name] for name in parameters}))
    except HoldfastError as error:
        told = error.message.replace(f"agent {MARKER}", "agent").replace(f"({MARKER})", "")  # what ben said himself
        assert MARKER not in told
        assert "ana" not in told
    else:
        assert MARKER not in repr(seen).replace(f"name='{MARKER}'", "")
    assert await print_of(engine) == before
    assert engine.isolation().is_isolated
