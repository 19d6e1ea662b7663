"""Walks through indexes that change meanwhile: nothing that is there throughout is missed, nothing comes twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from holdfast.errors import Conflict
from holdfast.store.contract.records import Claim, Query
from holdfast.store.redis import RedisStore, finding
from holdfast.testing.conformance.samples import ANA, SYSTEM, change, closing, delete, ids, key, must_read, put
from holdfast.testing.servers import ValkeyServer


@pytest.fixture
async def store(valkey_server: ValkeyServer, namespace: str) -> AsyncIterator[RedisStore]:
    async with closing(RedisStore(f"{valkey_server.url}?namespace={namespace}")) as store:
        assert isinstance(store, RedisStore)
        yield store


async def test_what_goes_before_the_place_of_a_walk_hides_nothing_behind_it(store: RedisStore) -> None:
    names = [f"a{number:04}" for number in range(3 * finding.CHUNK)]
    await store.commit(ANA, change(*(put(name, due=7) for name in names)))
    walks = [
        finding._by_text(store._calls, "acme", "ids:run", "-", "+"),
        finding._by_score(store._calls, "acme", "due:run", "-inf", "+inf"),
    ]
    seen = [[member.partition("\0")[0] for member in await anext(walk)] for walk in walks]
    await store.commit(ANA, change(*(delete(name) for name in names[: finding.CHUNK])))
    for walk, its in zip(walks, seen, strict=True):
        async for page in walk:
            its += [member.partition("\0")[0] for member in page]
        assert its == names


async def test_more_of_one_due_than_a_call_looks_at_are_all_found(store: RedisStore) -> None:
    names = [f"a{number:04}" for number in range(5 * finding.CHUNK)]
    for start in range(0, len(names), 500):
        await store.commit(ANA, change(*(put(name, due=7) for name in names[start : start + 500])))
    for query in (Query(kind="run", by_due=True), Query(kind="run", by_due=True, owner="", statuses=("",))):
        found: list[str] = []
        after = None
        while True:
            page = await store.scan(ANA, query, after=after, limit=333)
            found += ids(page.records)
            if (after := page.next) is None:
                break
        assert found == names
    taken = await store.claim(SYSTEM, Claim(kind="run", owner="me", from_owners=("",), due_until=7, limit=1000))
    assert ids(taken) == names


async def test_a_record_that_moves_between_indexes_is_met_once(store: RedisStore) -> None:
    """Thirty records go to and fro between two statuses while both are asked for."""
    names = [f"a{number:02}" for number in range(30)]
    await store.commit(ANA, change(*(put(name, status="open", due=1) for name in names)))
    is_over = asyncio.Event()

    async def toggle() -> None:
        for turn in range(400):
            status = ("done", "open")[turn % 2]
            await store.commit(ANA, change(*(put(name, expect=None, status=status, due=turn % 3) for name in names)))
            if is_over.is_set():
                return

    async with asyncio.TaskGroup() as group:
        group.create_task(toggle())
        for _ in range(60):
            for statuses, by_due in ((("open", "done"), False), (("done", "open"), True)):
                page = await store.scan(ANA, Query(kind="run", statuses=statuses, by_due=by_due))
                assert sorted(ids(page.records)) == names
        is_over.set()


async def test_buckets_of_the_dead_go_when_they_are_empty(
    store: RedisStore, valkey_server: ValkeyServer, namespace: str
) -> None:
    """Owners are processes; each start of one would otherwise leave an index behind for ever."""
    await store.commit(ANA, change(put("a"), put("b")))
    before = "nobody"
    for number in range(5):
        after = f"process-{number}"
        given = Claim(kind="run", owner=after, from_owners=("",) if number == 0 else (before,))
        assert len(await store.claim(SYSTEM, given)) == 2
        before = after
    assert valkey_server.command("SCARD", f"{namespace}:{{acme}}:buckets:run").strip() == ":1"
    await store.commit(ANA, change(delete("a"), delete("b")))
    assert valkey_server.command("EXISTS", f"{namespace}:{{acme}}:buckets:run").strip() == ":0"


async def test_a_thousand_readers_and_hundreds_of_tenants_are_served(store: RedisStore) -> None:
    """More than the driver has connections for."""
    keys = [key("a", tenant=f"t{number:03}") for number in range(150)]
    await asyncio.gather(*(store.commit(SYSTEM, change(put(each))) for each in keys))
    assert [record.key for record in (await store.scan(SYSTEM, Query(kind="run"), limit=1000)).records] == keys
    assert all(await store.read(SYSTEM, keys))
    found = await asyncio.gather(*(must_read(store, keys[number % 150]) for number in range(1000)))
    assert [record.key for record in found] == [keys[number % 150] for number in range(1000)]


async def test_the_answer_to_a_cancelled_call_is_given_to_nobody(store: RedisStore) -> None:
    names = [f"a{number:02}" for number in range(50)]
    await store.commit(ANA, change(*(put(name, body=f'"{name}"'.encode()) for name in names)))
    mixed: list[str] = []
    cut_off = 0

    async def read(name: str, turns: int) -> None:
        nonlocal cut_off
        reading = asyncio.ensure_future(must_read(store, name))
        for _ in range(turns):
            await asyncio.sleep(0)
        if not reading.done():
            cut_off += 1
            reading.cancel()
        [result] = await asyncio.gather(reading, return_exceptions=True)
        if not isinstance(result, BaseException) and result.body != f'"{name}"'.encode():
            mixed.append(name)

    for turn in range(20):
        await asyncio.gather(*(read(name, (turn + number) % 40) for number, name in enumerate(names)))
    assert mixed == []
    assert cut_off > 20
    for name in names:
        assert (await must_read(store, name)).body == f'"{name}"'.encode()
    with pytest.raises(Conflict):
        await store.commit(ANA, change(put(names[0])))
