"""Objects on a Redis that is killed and comes back: work goes on, and what both sides wrote is settled by policies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from holdfast import FieldPolicy, StateManager, SyncManager
from holdfast import UserExecutionContext as Context
from holdfast.state.objects import StateChange
from holdfast.store.fallback.store import FallbackStore
from holdfast.testing.servers import ValkeyServer
from tests.store.fallback.servers import FILE, come_back, merged

POLICIES = {"board": {"/tags": FieldPolicy.UNION}, "counter": {"": FieldPolicy.LAST_WRITER}}
ANA = Context(user="ana")


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer(options=FILE) as server:
        yield server


@asynccontextmanager
async def opened(server: ValkeyServer, *, says_so: bool) -> AsyncIterator[tuple[StateManager, FallbackStore]]:
    """The manager, asked to fall back by its URL or by its option."""
    url = server.url + ("?fallback=memory" if says_so else "")
    async with StateManager(url, or_memory=not says_so, policies=POLICIES, sweep_every=None) as state:
        assert isinstance(state.store, FallbackStore)
        yield state, state.store


@pytest.mark.parametrize("says_so", [True, False], ids=["url", "or_memory"])
async def test_objects_go_on_and_go_in(server: ValkeyServer, says_so: bool) -> None:
    async with opened(server, says_so=says_so) as (state, store):
        await state.set(ANA, "plan", {"n": 1}, why="before")
        server.kill()
        for _ in range(3):
            await state.update(ANA, "plan", lambda value: {"n": value["n"] + 1}, why="during")
        await state.set(ANA, "other", 1, ttl="1h", depends_on=["plan"])
        assert (await state.get(ANA, "plan")).value == {"n": 4}
        assert "goes on alone, in memory" in str(state.weakness())
        await come_back(server, store)
        assert state.weakness() is None
        assert (await state.get(ANA, "plan")).version == 4
    async with StateManager(server.url) as state:
        assert (await state.get(ANA, "plan")).value == {"n": 4}
        assert [each.why async for each in state.history(ANA, "plan")] == ["before", "during", "during", "during"]
        assert (await state.get(ANA, "plan", version=3)).value == {"n": 3}
        assert (await state.get(ANA, "other")).stale == ()


async def test_what_both_sides_wrote_is_settled_by_policies_or_told(server: ValkeyServer) -> None:
    async with opened(server, says_so=True) as (state, store):
        await state.set(ANA, "board", {"tags": ["a"], "n": 1})
        await state.set(ANA, "counter", 1)
        await state.set(ANA, "plan", {"n": 1})
        server.kill()
        await state.set(ANA, "board", {"tags": ["a", "ours"], "n": 1}, by="ours")
        await state.set(ANA, "counter", 2, by="ours")
        await state.set(ANA, "plan", {"n": "ours"}, by="ours")
        guard = store.server_breakers()[0].breaker
        guard.force("forced_open", reason="others come first")
        await asyncio.to_thread(server.start)
        async with StateManager(server.url) as others:
            await others.set(ANA, "board", {"tags": ["a", "theirs"], "n": 2}, by="theirs")
            await others.set(ANA, "counter", 3, by="theirs")
            await others.set(ANA, "plan", {"n": "theirs"}, by="theirs")
        guard.release()
        await merged(store)

        board = await state.get(ANA, "board")
        assert (board.value, board.who, board.version) == ({"tags": ["a", "ours", "theirs"], "n": 2}, "theirs", 3)
        assert [each.what async for each in state.history(ANA, "board")] == ["set", "set", "set", "merged"]
        assert (await state.get(ANA, "counter")).value == 3, "the later writer's"
        assert (await state.get(ANA, "plan")).value == {"n": "theirs"}
        assert [each.what async for each in state.history(ANA, "plan")][-1] == "passed_by"
        assert "1 changes" in str(state.weakness())

        sync = SyncManager(store)
        (kept,) = await sync.unmerged(ANA)
        assert (kept.key.id, kept.value["value"], kept.paths) == ("plan", {"n": "ours"}, ("/value",))
        assert await sync.unmerged(Context(user="bob")) == []
        assert not await sync.drop(Context(user="bob"), kept.id, by="bob")
        assert await sync.drop(ANA, kept.id, by="ana")
        assert await sync.unmerged(ANA) == []
        assert (await store.verify()).is_clean


async def test_a_watch_goes_on_across_an_outage_and_tells_of_the_gap(server: ValkeyServer) -> None:
    async with opened(server, says_so=True) as (state, store):
        seen: list[StateChange] = []

        async def look() -> None:
            async for each in state.watch(ANA, "plan"):
                seen.append(each)  # noqa: PERF401 - it never ends

        async def until(value: int) -> None:
            async with asyncio.timeout(20):
                while value not in [each.version for each in seen if each.what == "set"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

        watching = asyncio.ensure_future(look())
        last = await state.set(ANA, "plan", 1)
        async with asyncio.timeout(20):
            while not seen:  # it is not told when the server has begun to watch: what was set before is not seen
                last = await state.set(ANA, "plan", last.version + 1)
                await asyncio.sleep(0.01)
        server.kill()
        last = await state.set(ANA, "plan", last.version + 1)
        await until(last.version)
        await come_back(server, store)
        last = await state.set(ANA, "plan", last.version + 1)
        await until(last.version)
        watching.cancel()
        assert [each.what for each in seen].count("gap") == 2, "into memory, and out of it"
