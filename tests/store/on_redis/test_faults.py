"""A Redis that is flushed of scripts, killed, stopped, full, read-only or locked: typed errors, nothing half done."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
from collections.abc import Iterator

import pytest

from holdfast import Engine, Rejected, Workflow
from holdfast.errors import CommitUnknown, Conflict, Corrupt, InvalidInput, Unavailable
from holdfast.store.contract.records import Query
from holdfast.store.redis import RedisStore
from holdfast.store.redis.places import SCHEMA, Places
from holdfast.store.writing.outcome import commit_surely
from holdfast.testing.conformance.samples import ANA, SYSTEM, change, delete, event, key, must_read, put, removal
from holdfast.testing.servers import ValkeyServer, free_port
from tests.store.returns import once_it_is_asked_again

FILE = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture
def own_server() -> Iterator[ValkeyServer]:
    """A server that a test may maltreat, with an append-only file that every commit waits for."""
    with ValkeyServer(options=FILE) as server:
        yield server


async def open_store(server: ValkeyServer, namespace: str = "test") -> RedisStore:
    store = RedisStore(f"{server.url}?namespace={namespace}")
    await store.commit(ANA, change(put("a"), event("a")))
    return store


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("redis://", "redis://host:6379/0"),
        ("redis://host/0?namespace={x}", "without braces"),
        ("redis://host/0?namespace=", "namespace"),
        ("redis://host:port/0", "redis://host:6379/0"),
        ("redis://host:99999/0", "redis://host:6379/0"),
        ("redis://host/first", "redis://host:6379/0"),
        ("redis+cluster://host/1", r"redis\+cluster://host"),
        ("redis://host/0?sockt_timeout=1", "saw sockt_timeout"),
    ],
)
def test_a_bad_url_is_refused_when_the_store_is_made(url: str, match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        RedisStore(url)


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    store = RedisStore(f"redis://ana:hunter2@127.0.0.1:{free_port()}/0")
    with pytest.raises(Unavailable, match="server that answers") as caught:
        await store.commit(ANA, change(put("a")))
    assert "hunter2" not in str(caught.value) + repr(store) + str(store.ailment())
    assert store.ailment() is not None
    with pytest.raises(Unavailable):
        await must_read(store, "a")
    await store.close()


async def test_scripts_that_were_flushed_are_sent_again(own_server: ValkeyServer) -> None:
    store = await open_store(own_server)
    for number in range(1, 4):
        own_server.command("SCRIPT", "FLUSH")
        await store.commit(ANA, change(put("a", expect=number), event("a")))
    assert (await store.verify()).is_clean
    await store.close()


async def test_nothing_acknowledged_is_lost_when_the_server_is_killed(own_server: ValkeyServer) -> None:
    """With an append-only file that is synced at each commit: killed while eight writers write, and started again."""
    store = await open_store(own_server)
    acknowledged: list[str] = []

    async def write(name: str) -> None:
        for number in range(10_000):
            try:
                await store.commit(ANA, change(put(f"{name}-{number}"), event(f"{name}-{number}")))
            except (Unavailable, CommitUnknown):
                return
            acknowledged.append(f"{name}-{number}")
            if len(acknowledged) > 200:
                busy.set()

    busy = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for name in "abcdefgh":
            group.create_task(write(name))
        await busy.wait()
        await asyncio.to_thread(own_server.kill)
    assert store.ailment() is not None
    await asyncio.to_thread(own_server.start)
    found = await store.read(ANA, [key(name) for name in acknowledged])
    assert [name for name, record in zip(acknowledged, found, strict=True) if record is None] == []
    await store.commit(ANA, change(put("a", expect=1)))
    assert store.ailment() is None
    verification = await store.verify()
    assert verification.is_clean, verification.problems
    await store.close()


async def test_a_server_that_stands_still_is_unavailable_and_goes_on(own_server: ValkeyServer) -> None:
    store = await open_store(own_server)
    own_server.signal(signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable, match="in time"):
            await must_read(store, "a")
        with pytest.raises((Unavailable, CommitUnknown)):
            await store.commit(ANA, change(put("b")))
    finally:
        own_server.signal(signal.SIGCONT)
    await once_it_is_asked_again(lambda: commit_surely(store, ANA, change(put("a", expect=1), event("a"))))
    assert store.ailment() is None
    await store.close()


async def test_a_replica_reads_and_says_why_it_does_not_write(own_server: ValkeyServer) -> None:
    store = await open_store(own_server)
    own_server.command("REPLICAOF", "127.0.0.1", str(free_port()))
    own_server.command("CONFIG", "SET", "replica-serve-stale-data", "yes")
    with pytest.raises(Unavailable, match=r"read-only replica.*primary"):
        await store.commit(ANA, change(put("a", expect=1)))
    assert (await must_read(store, "a")).version == 1
    own_server.command("REPLICAOF", "NO", "ONE")
    await store.commit(ANA, change(put("a", expect=1)))
    await store.close()


async def test_a_full_server_refuses_whole_changes(own_server: ValkeyServer) -> None:
    store = await open_store(own_server)
    own_server.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(Unavailable, match="memory is full"):
        await store.commit(ANA, change(put("a", expect=1), put("b"), event("a")))
    own_server.command("CONFIG", "SET", "maxmemory", "0")
    assert (await must_read(store, "a")).version == 1
    assert (await store.verify()).is_clean
    await store.commit(ANA, change(put("a", expect=1), put("b"), event("a")))
    await store.close()


async def test_a_full_server_and_a_replica_can_be_opened_to_read(own_server: ValkeyServer) -> None:
    await (await open_store(own_server)).close()
    for words in (("CONFIG", "SET", "maxmemory", "1"), ("REPLICAOF", "127.0.0.1", str(free_port()))):
        own_server.command(*words)
        store = RedisStore(f"{own_server.url}?namespace=test")
        assert (await must_read(store, "a")).version == 1
        assert len(await store.events(ANA, record=key("a"))) == 1
        await store.close()


async def test_a_server_that_throws_records_away_is_refused(own_server: ValkeyServer) -> None:
    own_server.command("CONFIG", "SET", "maxmemory", "1gb")
    own_server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    store = RedisStore(own_server.url)
    with pytest.raises(Unavailable, match=r"allkeys-lru.*noeviction"):
        await store.commit(ANA, change(put("a")))
    own_server.command("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    await store.commit(ANA, change(put("a")))
    await store.close()


async def test_a_cluster_that_is_gone_is_unavailable() -> None:
    with ValkeyServer(is_cluster=True) as server:
        store = RedisStore(f"redis+cluster://127.0.0.1:{server.port}")
        await store.commit(ANA, change(put("a")))
        server.kill()
        for _ in range(2):
            for ask in (must_read(store, "a"), store.commit(ANA, change(put("b"))), store.scan(ANA, Query(kind="run"))):
                with pytest.raises(Unavailable, match="server that answers"):
                    await ask
        assert not await store._calls.redis.ping()
        await store.close()


async def test_wrong_credentials_are_said_to_be_wrong(own_server: ValkeyServer) -> None:
    own_server.command("CONFIG", "SET", "requirepass", "right")
    for url in (own_server.url, own_server.url.replace("://", "://:wrong@")):
        store = RedisStore(url)
        with pytest.raises(Unavailable, match="credentials"):
            await must_read(store, "a")
        await store.close()


async def test_a_newer_layout_is_refused(own_server: ValkeyServer) -> None:
    own_server.command("HSET", Places("test").facts, "schema", str(SCHEMA + 1))
    store = RedisStore(f"{own_server.url}?namespace=test")
    with pytest.raises(Unavailable, match=f"newer holdfast: schema {SCHEMA + 1}.*upgrade"):
        await must_read(store, "a")
    await store.close()


async def test_damaged_bytes_are_found(own_server: ValkeyServer) -> None:
    store = await open_store(own_server)
    place = f"{Places('test').prefix('acme')}rrun\0ana\0a"
    own_server.command("HSET", place, "b", '{"flipped":1}')
    with pytest.raises(Corrupt, match="run a"):
        await must_read(store, "a")
    own_server.command("HSET", place, "m", "no JSON")
    with pytest.raises(Corrupt, match="run a"):
        await must_read(store, "a")
    assert not (await store.verify()).is_clean
    await store.close()


def test_three_writers_with_unsorted_input_lose_no_update(valkey_server: ValkeyServer, namespace: str) -> None:
    """Each in a thread with a loop and a store of its own, on overlapping keys: sum of versions = commits."""
    names = [f"k{number}" for number in range(12)]
    wins: dict[str, int] = dict.fromkeys(names, 0)
    guard = threading.Lock()

    async def write(seed: int) -> None:
        chance = random.Random(seed)
        store = RedisStore(f"{valkey_server.url}?namespace={namespace}")

        async def once() -> None:
            chosen = chance.sample(names, 4)
            records = await store.read(ANA, [key(name) for name in chosen])
            puts = [
                put(name, expect=record.version if record else 0) for name, record in zip(chosen, records, strict=True)
            ]
            try:
                await store.commit(ANA, change(*puts, *(event(name) for name in chosen)))
            except Conflict:
                return
            with guard:
                for name in chosen:
                    wins[name] += 1

        for _ in range(15):
            await asyncio.gather(*(once() for _ in range(8)))
        await store.close()

    threads = [threading.Thread(target=lambda seed=seed: asyncio.run(write(seed))) for seed in range(3)]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)

    async def judge() -> None:
        store = RedisStore(f"{valkey_server.url}?namespace={namespace}")
        records = await store.read(ANA, [key(name) for name in names])
        assert {record.key.id: record.version for record in records if record} == {n: w for n, w in wins.items() if w}
        rows = await store.events(ANA, stream=("acme", "ana"), limit=10_000)
        assert [row.position.seq for row in rows] == list(range(1, sum(wins.values()) + 1))
        assert (await store.verify()).is_clean
        await store.close()

    asyncio.run(judge())
    assert sum(wins.values()) > 100


async def test_a_snapshot_does_not_see_what_is_written_meanwhile(valkey_server: ValkeyServer, namespace: str) -> None:
    """Made, changed, journalled, deleted and removed while it is read: it shows everything as it was."""
    store = RedisStore(f"{valkey_server.url}?namespace={namespace}")
    memo = key("v1/m", kind="memo")
    await store.commit(ANA, change(put("a"), put("b"), put("c"), put(memo), event("a"), event("b")))
    async with store.snapshot() as view:
        before = [history async for history in view.histories()]
    async with store.snapshot() as view:
        await store.commit(ANA, change(put("a", expect=1, body=b"1"), event("a"), delete("b"), event("b"), put("d")))
        await store.commit(ANA, change(event("c"), removal("v1/")))
        assert [history async for history in view.histories()] == before
    async with store.snapshot() as view:
        assert [history.key.id async for history in view.histories()] == ["a", "b", "c", "d"]
    left = valkey_server.command("KEYS", f"{namespace}*snapshot*")
    assert left.startswith("*0"), left
    await store.close()


async def test_runs_need_it_said_aloud_that_the_store_may_forget(valkey_server: ValkeyServer, namespace: str) -> None:
    wf = Workflow("quick", data=dict)
    wf.wait("review", start=True, on={"approve": "done"})
    wf.final("done")
    url = f"{valkey_server.url}?namespace={namespace}"
    with pytest.raises(Rejected, match=r"append-only file.*durable=False"):
        async with Engine(url, wf):
            pytest.fail("it opened")
    async with Engine(url, wf, durable=False) as engine:
        run = await engine.start("quick", id="Q-1", user="ana")
        await run.send("approve", by="ana")
        assert await run.result(timeout_s=20) == {}
    async with Engine(url, wf, works=False) as door:
        assert (await door.get("Q-1", user="ana")).status == "done"


async def test_system_scope_reaches_every_tenant_in_order(valkey_server: ValkeyServer, namespace: str) -> None:
    store = RedisStore(f"{valkey_server.url}?namespace={namespace}")
    for number, tenant in enumerate(("", "{braces}", "a%b", "plain")):
        at = key(f"r{9 - number}", tenant=tenant, user="")
        await store.commit(SYSTEM, change(put(at, due=10 - number), event(at)))
    page = await store.scan(SYSTEM, Query(kind="run", by_due=True))
    assert [record.key.tenant for record in page.records] == ["plain", "a%b", "{braces}", ""]
    assert (await store.verify()).records == 4
    await store.close()
