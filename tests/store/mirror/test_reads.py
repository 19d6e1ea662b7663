"""What a look at a record is answered with: by the cache, by the truth, and never by something too old."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import codec
from holdfast.errors import Unavailable
from holdfast.store.contract.beyond import read_recent
from holdfast.store.contract.records import Change, Claim, Delete, Key, RemovePrefix, Scope
from holdfast.store.mirror.rules import name_of
from holdfast.store.mirror.store import MirrorStore
from holdfast.store.open import open_store
from holdfast.testing.servers import ValkeyServer
from tests.store.mirror.truths import (
    SYSTEM,
    Database,
    MemoryTruth,
    cache_at,
    closing,
    mirror_of,
    put,
    run_key,
    sees,
    usable,
    version_of,
)


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def another(database: Database, valkey_server: ValkeyServer, namespace: str) -> object:
    """Makes one more process."""
    return lambda **promise: mirror_of(database, cache_at(valkey_server.url, namespace), **promise)


@pytest.fixture
async def store(another):  # type: ignore[no-untyped-def]
    store = await usable(another())
    yield store
    await store.close()


class TestHits:
    async def test_what_was_committed_is_read_without_the_truth(self, store: MirrorStore, database: Database) -> None:
        await put(store, run_key(), 1)
        await store.flush()
        before = database.reads
        (record,) = await store.read_recent(SYSTEM, [run_key()])
        assert record == (await store.read(SYSTEM, [run_key()]))[0]
        assert (database.reads - before, store.figures().hits) == (1, 1)

    async def test_what_one_process_read_another_finds(self, store: MirrorStore, another, database: Database) -> None:  # type: ignore[no-untyped-def]
        await put(store, run_key(), 1)
        await store.invalidate()
        other = await usable(another())
        async with closing(other):
            await usable(store)
            assert await version_of(store, run_key()) == 1
            await store.flush()
            before = database.reads
            assert await version_of(other, run_key()) == 1
            assert database.reads == before

    async def test_deleted_record_is_a_tombstone(self, store: MirrorStore, database: Database) -> None:
        await put(store, run_key(), 1)
        await store.commit(SYSTEM, Change(change_id="gone", writes=(Delete(key=run_key(), expect=1),)))
        await store.flush()
        before = database.reads
        assert await store.read_recent(SYSTEM, [run_key()], least_versions=[2]) == [None]
        assert database.reads == before
        assert await put(store, run_key(), 2) == 3
        assert await version_of(store, run_key()) == 3

    async def test_claim_is_seen(self, store: MirrorStore) -> None:
        await put(store, run_key(), 1)
        await store.claim(SYSTEM, Claim(kind="run", owner="me", from_owners=("",)))
        await store.flush()
        (record,) = await store.read_recent(SYSTEM, [run_key()])
        assert record is not None
        assert (record.owner, record.epoch, record.version, store.figures().hits) == ("me", 1, 1, 1)

    async def test_several_keys_come_in_order_from_both(self, store: MirrorStore) -> None:
        for name in "ab":
            await put(store, run_key(name), 1)
        await store.flush()
        keys = [run_key("b"), run_key("none"), Key("acme", "ana", "memo", "m"), run_key("a"), run_key("b")]
        found = await store.read_recent(SYSTEM, keys)
        assert [record and record.key.id for record in found] == ["b", None, None, "a", "b"]

    async def test_store_without_a_cache_just_reads(self) -> None:
        store = open_store("memory:")
        assert await read_recent(store, SYSTEM, [run_key()], least_versions=[3]) == [None]
        await store.close()


class TestLimits:
    async def test_answer_is_never_below_the_least_version(self, store: MirrorStore, database: Database) -> None:
        await put(store, run_key(), 1)
        await store.flush()
        await behind_its_back(database, store, 2)
        assert await version_of(store, run_key()) == 1  # nobody told the cache
        assert await version_of(store, run_key(), least=2) == 2

    async def test_own_commit_is_read_at_once(self, store: MirrorStore) -> None:
        """Also while its put waits."""
        for number in range(1, 30):
            await put(store, run_key(), number)
            assert await version_of(store, run_key()) == number

    async def test_answer_is_never_older_than_it_may_live(self, another, database: Database) -> None:  # type: ignore[no-untyped-def]
        store = await usable(another(lives_s=0.3))
        async with closing(store):
            await put(store, run_key(), 1)
            await store.flush()
            await behind_its_back(database, store, 2)
            await sees(store, run_key(), 2)

    async def test_raised_generation_is_noticed(self, another, database: Database) -> None:  # type: ignore[no-untyped-def]
        store = await usable(another(generation_every_s=0.05))
        async with closing(store):
            await put(store, run_key(), 1)
            await store.flush()
            await behind_its_back(database, store, 2)
            database.generation += 1
            await sees(store, run_key(), 2)

    async def test_another_users_record_does_not_exist(self, store: MirrorStore) -> None:
        await put(store, run_key(), 1)
        await store.flush()
        assert await store.read_recent(Scope.of_user("acme", "bob"), [run_key()]) == [None]
        assert await store.read_recent(Scope.of_tenant("other"), [run_key()]) == [None]
        assert await store.read_recent(Scope.of_user("acme", "ana"), [run_key()]) != [None]

    async def test_damaged_entry_is_read_from_the_truth(
        self, store: MirrorStore, valkey_server: ValkeyServer, namespace: str
    ) -> None:
        await put(store, run_key(), 1)
        await store.flush()
        name = f"holdfast:{{{namespace}}}:".encode() + name_of(run_key())
        assert valkey_server.command("SETRANGE", name.decode(), "60", "X").startswith(":")
        assert await version_of(store, run_key()) == 1
        assert store.figures().misses == 1

    async def test_removed_prefix_is_noticed(self, store: MirrorStore, another, database: Database) -> None:  # type: ignore[no-untyped-def]
        """Nobody can say which records were removed, so nothing that is cached counts any more."""
        other = await usable(another(generation_every_s=0.05))
        async with closing(other):
            await put(store, run_key("a/1"), 1)
            await store.flush()
            assert await version_of(other, run_key("a/1")) == 1
            removal = RemovePrefix(tenant="acme", user="ana", kind="run", prefix="a/")
            await store.commit(SYSTEM, Change(change_id="all", removes=(removal,)))
            assert await version_of(store, run_key("a/1")) == 0
            await sees(other, run_key("a/1"), 0)

    async def test_kinds_that_nobody_looks_at_are_not_cached(self, store: MirrorStore) -> None:
        await put(store, Key("acme", "ana", "memo", "m"), 1)
        await store.flush()
        assert store.figures().puts == 0

    async def test_closed_store_says_so(self, store: MirrorStore) -> None:
        await store.close()
        with pytest.raises(Unavailable, match="closed"):
            await store.read_recent(SYSTEM, [run_key()])


class TestTogether:
    async def test_many_who_miss_read_the_truth_once(self, store: MirrorStore, database: Database) -> None:
        await put(store, run_key(), 1)
        await store.invalidate()
        await usable(store)
        before = database.reads
        assert await asyncio.gather(*(version_of(store, run_key()) for _ in range(50))) == [1] * 50
        assert database.reads - before == 1

    async def test_who_was_cancelled_does_not_cancel_the_others(self, store: MirrorStore, database: Database) -> None:
        await put(store, run_key(), 1)
        await store.invalidate()
        await usable(store)
        is_reading, go_on = asyncio.Event(), asyncio.Event()

        async def pause(where: str) -> None:
            if where == "read":
                is_reading.set()
                await go_on.wait()

        database.pause = pause
        async with asyncio.TaskGroup() as group:
            first = group.create_task(version_of(store, run_key()))
            await is_reading.wait()
            second = group.create_task(version_of(store, run_key()))
            first.cancel()
            await asyncio.sleep(0)
            go_on.set()
            assert await second == 1

    async def test_joined_read_that_began_too_early_is_made_again(self, store: MirrorStore, database: Database) -> None:
        await put(store, run_key(), 1)
        await store.invalidate()
        await usable(store)
        is_reading, go_on = asyncio.Event(), asyncio.Event()

        async def pause(where: str) -> None:
            if where == "read" and not is_reading.is_set():
                is_reading.set()
                await go_on.wait()

        database.pause = pause
        async with asyncio.TaskGroup() as group:
            first = group.create_task(version_of(store, run_key()))
            await is_reading.wait()
            await behind_its_back(database, store, 2)
            second = group.create_task(version_of(store, run_key(), least=2))
            await asyncio.sleep(0.01)
            go_on.set()
            assert (await first, await second) == (1, 2)

    async def test_truths_error_is_told_to_each(self, store: MirrorStore, database: Database) -> None:
        database.is_away = True
        found = await asyncio.gather(*(version_of(store, run_key()) for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in found] == [Unavailable] * 3
        assert len(set(map(id, found))) == 3

    async def test_cached_records_are_read_while_the_truth_is_away(
        self,
        another,
        database: Database,  # type: ignore[no-untyped-def]
    ) -> None:
        store = await usable(another(generation_every_s=0.01, generation_wait_s=0.01))
        async with closing(store):
            await put(store, run_key(), 1)
            await store.flush()
            assert await version_of(store, run_key()) == 1
            database.is_away = True
            assert await version_of(store, run_key()) == 1
            database.is_away = False


async def behind_its_back(database: Database, store: MirrorStore, number: int) -> None:
    """A commit that no cache is told of, as by a process that died right after it."""

    class Nobody:
        def must_raise(self) -> bool:
            return False

        def written(self, rows: object, removed: object) -> None:
            pass

    await put(MemoryTruth(database, Nobody()), run_key(), number)  # type: ignore[arg-type]
    assert codec.decode((await store.read(SYSTEM, [run_key()]))[0].body) == {"n": number}  # type: ignore[union-attr]
