"""A task that is cancelled while it talks to Redis ends, at whatever moment that comes.

On Python 3.11 the driver loses a cancellation that comes in the turns of the loop in which what it wrote is just gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from holdfast.store.redis.address import parse
from holdfast.store.redis.calls import Calls
from holdfast.store.servers.clock import ServerTime
from holdfast.testing.servers import ValkeyServer

TURNS = 12
"""More turns of the loop than an answer takes."""


@pytest.fixture
async def calls(valkey_server: ValkeyServer, namespace: str) -> AsyncIterator[Calls]:
    made = Calls(parse(f"{valkey_server.url}?namespace={namespace}"), ServerTime())
    yield made
    await made.close()


QUESTIONS: dict[str, Callable[[Calls], Awaitable[object]]] = {
    "command": lambda calls: calls.command("HGET", calls.places.facts, "schema"),
    "script": lambda calls: calls.ask("t", "HGET", "meta", "incarnation"),
    "ping": lambda calls: calls.redis.ping(),
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
async def test_who_is_cancelled_in_any_turn_of_the_loop_ends(
    calls: Calls, question: Callable[[Calls], Awaitable[object]]
) -> None:
    await question(calls)  # what is opened at first, and learned
    cut_off = 0
    for turns in range(TURNS):
        task = asyncio.ensure_future(question(calls))
        for _ in range(turns):
            await asyncio.sleep(0)
        is_cut_off = task.cancel()
        cut_off += is_cut_off
        await asyncio.wait([task])
        assert task.cancelled() is is_cut_off, f"after {turns} turns"
    assert cut_off >= 3, "it came to its end at once"
