"""Blocks that hold locks, of two engines on one store: in order, all or none, without cycles, fenced when late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from holdfast import Deadlock, Engine, Fenced, InvalidInput, Lease, Unavailable
from holdfast.locks import LEASE, LockView, lock_key, look_at_locks
from holdfast.store.contract.beyond import read_recent
from holdfast.store.contract.records import Change, Key, Put, Query, Scope
from holdfast.store.memory import MemoryStore
from holdfast.testing.servers import ValkeyServer

CONTENDERS = 30
LIMIT_S = 30.0
MAIN = Scope.of_tenant("main")


class Pair:
    """Two engines on one store, and what is known of its locks."""

    def __init__(self, one: Engine, other: Engine) -> None:
        self.one, self.other = one, other

    async def seen(self) -> dict[str, LockView]:
        return {view.lock: view async for view in look_at_locks(self.one.store, MAIN)}

    async def until_in_line(self, lock: str, count: int) -> None:
        """Until so many hold or wait for the lock."""
        tick = 0
        async with asyncio.timeout(LIMIT_S):
            while True:
                view = (await self.seen()).get(lock)
                if view is not None and len(view.holders) + len(view.waiters) >= count:
                    return
                tick = await self.one.store.wait(tick)


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    """Two engines that only hold locks, on a fresh store of each kind: a connection each, but on memory."""
    place: Any = MemoryStore()
    if request.param != "memory":
        place = f"sqlite:///{tmp_path}/runs.db" if request.param == "sqlite" else request.getfixturevalue("database")
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            stack.push_async_callback(place.close)
        engines = [await stack.enter_async_context(Engine(place, works=False)) for _ in range(2)]
        yield Pair(*engines)


async def write_under(engine: Engine, lease: Lease) -> None:
    """Commit something that requires the lease."""
    put = Put(key=Key("main", "ana", "note", f"{lease.kind} {lease.token}"), body=b"{}", expect=None)
    change = Change(change_id=f"{lease.name} {lease.token}", writes=(put,), requires=(lease.requirement(),))
    await engine.store.commit(Scope.of_user("main", "ana"), change)


async def test_thirty_contenders_hold_strictly_in_order(pair: Pair) -> None:
    order: list[tuple[int, int]] = []
    inside = 0
    may_go = asyncio.Event()

    async def contend(number: int) -> None:
        nonlocal inside
        engine = pair.one if number % 2 else pair.other
        async with engine.lock("repository", "r", user=f"user-{number}") as lease:
            await may_go.wait()
            inside += 1
            assert inside == 1, "two hold one lock"
            order.append((number, lease.token))
            await write_under(engine, lease)
            inside -= 1

    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        for number in range(CONTENDERS):
            group.create_task(contend(number))
            await pair.until_in_line("repository/r", number + 1)
        may_go.set()
    assert [number for number, _ in order] == list(range(CONTENDERS))
    tokens = [token for _, token in order]
    assert tokens == sorted(set(tokens)), "tokens rise"
    assert await pair.seen() == {}
    assert (await pair.one.store.scan(MAIN, Query(kind=LEASE))).records == (), "a lease leaves nothing behind"


async def test_of_two_that_lock_in_opposite_order_one_is_told_the_way(pair: Pair) -> None:
    refused: list[Deadlock] = []
    ready = {"x": asyncio.Event(), "y": asyncio.Event()}

    async def hold(engine: Engine, first: str, second: str) -> str:
        try:
            async with engine.lock("repository", first, user=f"first-{first}"):
                ready[first].set()
                await ready[second].wait()
                async with engine.lock("repository", second, user=f"first-{first}"):
                    return first
        except Deadlock as error:
            refused.append(error)
            return ""

    async with asyncio.timeout(LIMIT_S):
        done = await asyncio.gather(hold(pair.one, "x", "y"), hold(pair.other, "y", "x"))
    (error,) = refused
    assert len([name for name in done if name]) == 1
    for words in ("waits for repository/x behind", "waits for repository/y behind", "who holds"):
        assert words in error.cycle
    assert await pair.seen() == {}


async def test_several_at_once_never_wait_for_each_other(pair: Pair) -> None:
    inside: set[str] = set()

    async def hold(engine: Engine, *wanted: str) -> None:
        for _ in range(5):
            async with engine.locks([("repository", name) for name in wanted]) as leases:
                assert [lease.name for lease in leases] == sorted(wanted)
                assert not inside & set(wanted), "two hold one lock"
                inside.update(wanted)
                await asyncio.sleep(0)
                inside.difference_update(wanted)

    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(hold(pair.one, "x", "y"), hold(pair.other, "y", "x"), hold(pair.one, "y", "z"))
    assert await pair.seen() == {}


async def test_all_or_none(pair: Pair) -> None:
    async with pair.one.lock("repository", "y", user="ana"):
        with pytest.raises(Unavailable, match="lock repository/x, repository/y: waited 0 s; held by ana"):
            async with pair.other.locks([("repository", "y"), ("repository", "x")], wait_max_s=0):
                raise AssertionError("held half of it")
        assert list(await pair.seen()) == ["repository/y"]


async def test_modes_and_names_that_cover_each_other(pair: Pair) -> None:
    async with (
        pair.one.lock("repository", "company/cart", mode="shared") as one,
        pair.other.lock("repository", "company", mode="shared") as other,
    ):
        assert one.token < other.token
        for name in ("company", "company/cart", "company/cart/api"):
            with pytest.raises(Unavailable, match="waited 0 s"):
                async with pair.one.lock("repository", name, wait_max_s=0):
                    raise AssertionError("overtook those who share it")
        await write_under(pair.one, one)
        await write_under(pair.other, other)


async def test_the_same_holder_asking_again_takes_over_and_its_former_self_is_refused(pair: Pair) -> None:
    """As after a crash whose lease has not lapsed yet: nothing to wait for, a higher token, and the late one is out."""
    async with (
        pair.one.lock("repository", "r", ttl_s=3, holder="job-7") as former,
        pair.other.lock("repository", "r", holder="job-7", wait_max_s=0) as lease,
    ):
        assert lease.token > former.token
        with pytest.raises(Fenced):
            await write_under(pair.one, former)
        async with asyncio.timeout(LIMIT_S):
            await former.lost.wait()
        await write_under(pair.other, lease)
        (view,) = (await pair.seen()).values()
        assert ([each.token for each in view.holders], view.waiters) == ([lease.token], ())


async def test_what_was_given_back_late_is_not_taken_from_the_next_one(pair: Pair) -> None:
    async with AsyncExitStack() as later:
        async with AsyncExitStack() as former:
            await former.enter_async_context(pair.one.lock("repository", "r", holder="job-7"))
            lease = await later.enter_async_context(pair.other.lock("repository", "r", holder="job-7", wait_max_s=0))
        await write_under(pair.other, lease)
        assert [view.lock for view in (await pair.seen()).values()] == ["repository/r"]


async def test_a_block_inside_of_one_that_holds_the_same_is_refused_at_once(pair: Pair) -> None:
    async with pair.one.lock("repository", "company", user="ana"):
        with pytest.raises(Deadlock, match="ana waits for repository/company/cart, and holds repository/company"):
            async with pair.one.lock("repository", "company/cart", user="ana"):
                raise AssertionError("held twice")


async def test_bad_input_is_refused_with_the_mend() -> None:
    async with Engine("memory:", works=False) as engine:
        with pytest.raises(InvalidInput, match=r"expected a ttl_s of at least 3, which is 3 heartbeats, saw 2\.9"):
            async with engine.lock("repository", "r", ttl_s=2.9):
                raise AssertionError("held too short")
        with pytest.raises(InvalidInput, match="lock kind: expected a real id"):
            async with engine.lock("", "company/cart"):
                raise AssertionError("held a lock of no kind")
        with pytest.raises(InvalidInput, match=r'expected \(kind, name\) such as \("repository", "company/service"\)'):
            engine.locks(["company/cart"])  # type: ignore[list-item]


async def test_tokens_rise_although_redis_is_set_back(database: str, valkey_server: ValkeyServer) -> None:
    """Redis comes back with nothing, or with what it held long ago: it never knew of a lock, so whatever it says nobody
    gets a token of the past."""
    tokens: list[int] = []
    url = f"hybrid+{database}?cache={valkey_server.url}&namespace={(name := database.rpartition('/')[2])}"
    async with Engine(url, works=False) as engine, redis.asyncio.from_url(valkey_server.url) as cache:
        for _ in range(3):
            async with engine.lock("repository", "company/cart") as lease:
                tokens.append(lease.token)
                await read_recent(engine.store, MAIN, [lock_key("main", lease.kind, lease.name)])
            keys = [key.decode() async for key in cache.scan_iter(match=f"*{name}*")]
            assert not [key for key in keys if "repository" in key]
            for key in keys:
                await cache.delete(key)
    assert len(tokens) == 3
    assert tokens == sorted(set(tokens))
