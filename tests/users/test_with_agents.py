"""Users' work by the real core: their agents, their tools, their streams, and what becomes of what goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast import (
    Agent,
    AgentCall,
    DeadlineExceeded,
    ExecutionEngine,
    InvalidOutput,
    StreamSnapshot,
    ToolDispatcher,
    UserExecutionContext,
    UserQuota,
    WorkflowError,
    open_store,
    tool,
)
from holdfast.store.contract.protocol import OpenStore

SCOPED = frozenset({"notes:read"})
ANA = UserExecutionContext(user="ana", tenant="acme", scopes=SCOPED)
BEN = UserExecutionContext(user="ben", tenant="acme")
QUIET_S = 1.0
"""A stream that is silent for so long has told all that there was."""


@tool(scope="notes:read")
async def read_notes(about: str, *, context: UserExecutionContext) -> str:
    """The user's own notes."""
    return f"{context.user} on {about}"


class Triage:
    """A plain object: what it remembers is one user's."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def run(self, ticket: str, call: AgentCall) -> list[str]:
        call.progress("reading")
        self.seen.append(await call.tool("read_notes", about=ticket))
        call.charge(tokens=100)
        return self.seen


@pytest.fixture
async def store() -> AsyncIterator[OpenStore]:
    opened = open_store("memory:")
    yield opened
    await opened.close()


@pytest.fixture
async def engine(store: OpenStore) -> AsyncIterator[ExecutionEngine]:
    tools = ToolDispatcher([read_notes], store=store)
    async with ExecutionEngine(store, tools=tools, quota=UserQuota(tokens=250)) as opened:
        opened.registry.declare("triage", lambda context: Triage())
        yield opened
    await tools.close()


async def told(engine: ExecutionEngine, context: UserExecutionContext) -> list[tuple[str, Any]]:
    """The names in a user's stream so far, and the phases of tools."""
    await engine.registry.session(context).emitter.flush()
    found: list[tuple[str, Any]] = []
    try:
        async with asyncio.timeout(QUIET_S) as quiet:
            async for item in engine.stream(context, after="1:0"):
                assert not isinstance(item, StreamSnapshot)
                found.append((item.name, item.data.get("phase") or item.data.get("text")))
                quiet.reschedule(asyncio.get_running_loop().time() + QUIET_S)
    except TimeoutError:
        pass
    return found


async def test_a_users_object_is_an_agent_with_his_tools(engine: ExecutionEngine) -> None:
    assert await engine.run(ANA, "triage", "disk") == ["ana on disk"]
    assert await engine.run(ANA, "triage", "cpu") == ["ana on disk", "ana on cpu"]
    names = [name for name, _ in await told(engine, ANA)]
    one_call = ["agent.started", "agent.progress", "agent.tool", "agent.tool", "agent.finished"]
    assert [name for name in names if name.startswith("agent.")] == one_call * 2
    assert [name for name in names if name.startswith("tool.")] == ["tool.began", "tool.done"] * 2
    assert (await engine.usage.used(ANA))["tokens"] == 200


async def test_a_tool_beyond_his_scopes_is_refused_to_his_agent_alone(engine: ExecutionEngine) -> None:
    with pytest.raises(Exception, match="expected the scope 'notes:read'"):
        await engine.run(BEN, "triage", "disk")
    assert await engine.run(ANA, "triage", "disk") == ["ana on disk"]
    assert ("tool.refused", None) in await told(engine, BEN)


async def test_tokens_count_against_the_users_quota(engine: ExecutionEngine) -> None:
    for _ in range(3):
        await engine.run(ANA, "triage", "disk")
    with pytest.raises(Exception, match="tokens"):
        await engine.run(ANA, "triage", "disk")


async def test_an_output_that_does_not_fit_is_told_in_words(engine: ExecutionEngine) -> None:
    async def wrong(ticket: str) -> int:
        return "seven"  # type: ignore[return-value]

    engine.registry.declare("wrong", lambda context: Agent(wrong, name="wrong"))
    with pytest.raises(InvalidOutput):
        await engine.run(ANA, "wrong", "disk")
    assert [name for name, _ in await told(engine, ANA)][-1] == "notification"


async def test_one_that_swallows_its_cancellation_is_fenced_and_the_other_user_goes_on(engine: ExecutionEngine) -> None:
    go, late = asyncio.Event(), list[str]()

    class Deaf:
        async def run(self, ticket: str, call: AgentCall) -> str:
            while not go.is_set():
                try:
                    await go.wait()
                except asyncio.CancelledError:
                    continue
            await call.write(late.append, "too late")
            return "late"

    engine.registry.declare("deaf", lambda context: Deaf())
    with pytest.raises((DeadlineExceeded, WorkflowError)):
        await engine.run(ANA, "deaf", "disk", timeout_s=0.1)
    assert await engine.run(ANA, "triage", "disk") == ["ana on disk"]
    go.set()
    await asyncio.sleep(0)
    assert late == []
    assert engine.isolation().is_isolated
