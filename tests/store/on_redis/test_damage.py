"""Rows whose fields cannot be read: no change is half done for them, and repair finds its way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from holdfast.errors import Corrupt
from holdfast.store.contract.records import Query
from holdfast.store.redis import RedisStore
from holdfast.store.rows import journal
from holdfast.testing.conformance.samples import (
    ANA,
    SYSTEM,
    change,
    closing,
    event,
    ids,
    key,
    must_read,
    put,
    read_one,
    removal,
)
from holdfast.testing.servers import ValkeyServer


@pytest.fixture
async def store(valkey_server: ValkeyServer, namespace: str) -> AsyncIterator[RedisStore]:
    async with closing(RedisStore(f"{valkey_server.url}?namespace={namespace}")) as store:
        assert isinstance(store, RedisStore)
        yield store


@pytest.fixture
def prefix(namespace: str) -> str:
    return f"{namespace}:{{acme}}:"


async def test_a_change_that_meets_damage_leaves_no_half_of_it(
    store: RedisStore, valkey_server: ValkeyServer, prefix: str
) -> None:
    await store.commit(ANA, change(*(put(name) for name in "abcd")))
    valkey_server.command("HSET", f"{prefix}rrun\0ana\0b", "m", "no JSON")
    results = await asyncio.gather(
        store.commit(ANA, change(put("a", expect=1), put("b", expect=None), event("a"))),
        store.commit(ANA, change(put("c", expect=1))),
        store.commit(ANA, change(put("d", expect=1), event("d"))),
        return_exceptions=True,
    )
    assert [type(result).__name__ for result in results] == ["Corrupt", "Commit", "Commit"]
    assert "run b" in str(results[0])
    assert [(await must_read(store, name)).version for name in "acd"] == [1, 2, 2]
    assert await store.events(ANA, record=key("a")) == []


async def test_damaged_memos_can_be_removed(store: RedisStore, valkey_server: ValkeyServer, prefix: str) -> None:
    memos = [key(f"v1/{name}", kind="memo") for name in "abc"]
    await store.commit(ANA, change(*(put(memo, status="kept", due=1) for memo in memos)))
    valkey_server.command("HSET", f"{prefix}rmemo\0ana\0v1/b", "m", '{"s": 1}')
    await store.commit(ANA, change(removal("v1/"), put("a")))
    assert [await read_one(store, memo) for memo in memos] == [None, None, None]
    for query in (Query(kind="memo"), Query(kind="memo", by_due=True), Query(kind="memo", statuses=("kept",))):
        assert (await store.scan(SYSTEM, query)).records == ()
    assert (await store.verify()).is_clean


async def test_a_record_without_readable_fields_is_repaired_and_met_once(
    store: RedisStore, valkey_server: ValkeyServer, prefix: str
) -> None:
    body = {"n": 1}
    delta = journal.delta(None, body, 1)
    await store.commit(
        ANA, change(put("a", body=json.dumps(body).encode(), status="open", due=3), event("a", delta=delta))
    )
    valkey_server.command("HSET", f"{prefix}rrun\0ana\0a", "m", "no JSON")
    assert not (await store.verify()).is_clean
    (words,) = await store.repair()
    assert "run a" in words
    assert (await store.verify()).is_clean
    assert json.loads((await must_read(store, "a")).body) == body
    for query in (Query(kind="run"), Query(kind="run", statuses=("open", "")), Query(kind="run", owner="")):
        assert ids((await store.scan(SYSTEM, query)).records) == ["a"]


async def test_a_stream_that_lost_its_number_writes_nothing_until_it_is_repaired(
    store: RedisStore, valkey_server: ValkeyServer, prefix: str
) -> None:
    await store.commit(ANA, change(put("a"), event("a"), event("a")))
    valkey_server.command("HDEL", f"{prefix}numbers", "ana")
    with pytest.raises(Corrupt, match="repair"):
        await store.commit(ANA, change(put("b"), put("a", expect=1), event("b"), event("a")))
    assert await read_one(store, "b") is None
    await store.repair()
    answer = await store.commit(ANA, change(put("b"), put("a", expect=1), event("b"), event("a")))
    assert answer.position is not None
    assert answer.position.seq >= 4
    assert (await store.verify()).is_clean
