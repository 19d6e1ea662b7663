"""Two worlds that differ in one thing: whether Ana, with a run, objects, calls and a lock, is there beside Bob."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from holdfast import (
    Client,
    Engine,
    HoldfastError,
    RunHandle,
    StateManager,
    ToolDispatcher,
    UserExecutionContext,
    Workflow,
    WorkflowStateManager,
    tool,
)
from holdfast.store.contract.protocol import OpenStore

MARKER = "anas-secret"
"""Stands in everything of Ana's, and in nothing that Bob says."""
ANA = UserExecutionContext(user="ana", tenant="acme", run="run-ana", request="ana-1")
BOB = UserExecutionContext(user="bob", tenant="acme", run="run-bob", request="bob-1")
NO_RUN = "01900000-0000-7000-8000-000000000000"
ITEMS_MAX = 30
ENDLESS = {"follow": 0.2, "watch": 0.2}
"""Iterators that wait for more, and how long one may be silent until it is taken to have nothing more to say."""
ANSWER_S = 10.0
"""How long the others may take for an item, on a machine that has much else to do."""

incident = Workflow("incident", data=dict)


@incident.state("acceptance", start=True, to="review")
async def accept(ctx: Any) -> None:
    ctx.data["text"] = await ctx.step("classify", _same, ctx.input["text"])


async def _same(text: str) -> str:
    return text


incident.wait("review", on={"approve": "done", "again": "acceptance"})
incident.final("done")


@tool
async def repeat(text: str) -> str:
    return text


@dataclass(frozen=True)
class World:
    """What Bob has doors to, and the ids of Ana's that he knows somehow."""

    bob: UserExecutionContext
    store: OpenStore
    engine: Engine
    client: Client
    manager: WorkflowStateManager
    state: StateManager
    tools: ToolDispatcher
    handle: RunHandle
    anas_run: str
    """Of no run at all where Ana is not there."""


Enter = Callable[[UserExecutionContext], Awaitable[World]]
"""Lets one more Bob in."""


@asynccontextmanager
async def place(store: OpenStore, *, has_ana: bool) -> AsyncIterator[Enter]:
    """An empty `store`, with or without Ana. Each Bob that enters has a run, an object and a call of her names."""
    async with (
        Engine(store, incident, durable=False) as engine,
        StateManager(store, sweep_every=None) as state,
    ):
        tools = ToolDispatcher([repeat], store=store)
        anas_run = (await _settle(engine, state, tools, ANA, MARKER)).id if has_ana else NO_RUN

        async def enter(bob: UserExecutionContext) -> World:
            return World(
                bob=bob,
                store=store,
                engine=engine,
                client=engine.client(context=bob),
                manager=WorkflowStateManager(engine, bob, workflow="incident"),
                state=state,
                tools=tools,
                handle=await _settle(engine, state, tools, bob, "bobs-own"),
                anas_run=anas_run,
            )

        yield enter
        await tools.close()


@asynccontextmanager
async def world(store: OpenStore, *, has_ana: bool) -> AsyncIterator[World]:
    """A place with one Bob in it."""
    async with place(store, has_ana=has_ana) as enter:
        yield await enter(BOB)


async def _settle(
    engine: Engine, state: StateManager, tools: ToolDispatcher, context: UserExecutionContext, text: str
) -> RunHandle:
    """What one user has: a waiting run with a checkpoint, two objects and a checkpoint of them, a call with a key."""
    client = engine.client(context=context)
    run = await client.start("incident", {"text": text}, id="INC-1", labels={"team": "a"})
    await run.reach("review")
    await client.checkpoint(run.id, "before")
    await state.set(context, "plan", {"text": text})
    await state.set(context, "plan/step", {"text": text}, depends_on=["plan"])
    await state.checkpoint(context, "before")
    await tools.call(context, "repeat", {"text": text}, key="once")
    return run


async def everything_of(store: OpenStore, user: str) -> dict[str, str]:
    """All that is stored under a user's keys, journals included, as text by key."""
    async with store.snapshot() as snapshot:
        return {str(each.key): repr(each) async for each in snapshot.histories() if each.key.user == user}


async def told(outcome: Any) -> str:
    """All that a verb says in the end, as text in which drawn ids, times and digests have no part."""
    try:
        text = _text(await _given(outcome))
    except (HoldfastError, ValueError, TypeError, LookupError, TimeoutError) as error:
        text = f"{type(error).__name__}: {error} {getattr(error, 'facts', '')}"
    return _without_chance(text)


async def _given(outcome: Any) -> Any:
    if inspect.isasyncgen(outcome) or isinstance(outcome, AsyncIterator):
        return await _items(outcome)
    if isinstance(outcome, AbstractAsyncContextManager):
        async with outcome as entered:
            return entered
    return await outcome if isinstance(outcome, Awaitable) else outcome


async def _items(items: AsyncIterator[Any]) -> list[Any]:
    found: list[Any] = []
    quiet_s = ENDLESS.get(getattr(items, "__name__", ""), ANSWER_S)
    try:
        async with asyncio.timeout(quiet_s) as quiet:
            async for item in items:
                found.append(item)
                if len(found) == ITEMS_MAX:
                    break
                quiet.reschedule(asyncio.get_running_loop().time() + quiet_s)
    except TimeoutError:
        assert quiet_s < ANSWER_S, f"{items!r}: no item for {ANSWER_S:g} s, and no end"
    return found


def _text(value: Any) -> str:
    if isinstance(value, RunHandle):
        return f"run {value.ticket_id} v{value.version} {value.states} {value.status} {_text(value.run)}"
    if isinstance(value, msgspec.Struct):
        return _of_fields(value, value.__struct_fields__)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _of_fields(value, [field.name for field in dataclasses.fields(value) if not field.name.startswith("_")])
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_text(item)}" for key, item in sorted(value.items(), key=str)) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return "[" + ", ".join(_text(item) for item in value) + "]"
    return repr(value)


def _of_fields(value: Any, names: Sequence[str]) -> str:
    fields = {name: getattr(value, name) for name in names}
    return type(value).__name__ + _text(fields)


def _without_chance(text: str) -> str:
    for pattern, instead in (
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(:[0-9a-f]{20}\b)?", "<id>"),
        (r"\b[0-9a-f]{32,64}\b", "<digest>"),
        (r"\b1[0-9]{9}\.[0-9]+", "<time>"),
        (r"\b1[0-9]{9,18}\b", "<time>"),
        (r"20\d\d-\d\d-\d\d[T ][0-9:.]+(\+00:00|Z)?", "<time>"),
        (r"datetime\.datetime\([^()]*(\([^()]*\))?[^()]*\)", "<time>"),
        (r"0x[0-9a-f]+", "<address>"),
        (r"\b\d+(\.\d+)?e-\d+\b|\b0\.\d+\b", "<duration>"),
    ):
        text = re.sub(pattern, instead, text)
    return text
