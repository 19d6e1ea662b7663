"""Two who write one object: what is put together, what is a conflict, and what the cache is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast import codec
from holdfast.context import UserExecutionContext
from holdfast.errors import Conflict, MergeConflict, Unavailable, WrongContext
from holdfast.merge import NOTHING, FieldPolicy
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Change, Delete, Key, Put, Scope
from holdfast.store.memory import MemoryStore
from holdfast.store.mirror import SyncManager
from holdfast.store.mirror.store import MirrorStore
from holdfast.store.open import open_store
from holdfast.testing.faulty_store import Fault, FaultyStore, When
from holdfast.testing.servers import ValkeyServer
from tests.store.mirror.truths import usable

ANA = UserExecutionContext(user="ana", tenant="acme")
PLAN = "plan"
SCOPE = Scope.of_user("acme", "ana")
KEY = Key("acme", "ana", "state", PLAN)
MERGE, UNION, RETRY, LAST = FieldPolicy.MERGE, FieldPolicy.UNION, FieldPolicy.RETRY, FieldPolicy.LAST_WRITER


@pytest.fixture(params=["memory", "sqlite", "mirror"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "mirror":
        server: ValkeyServer = request.getfixturevalue("valkey_server")
        return f"hybrid+{request.getfixturevalue('database')}?cache={server.url}"
    return "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/store.db"


@pytest.fixture
async def store(url: str) -> AsyncIterator[Any]:
    store = open_store(url)
    yield store
    await store.close()


async def began_at(sync: SyncManager, value: Any) -> int:
    return (await sync.write(ANA, PLAN, value, base_version=0, by="ana")).version


class TestWrite:
    async def test_changes_that_lie_apart_are_put_together(self, store: Store) -> None:
        sync = SyncManager(store)
        base = await began_at(sync, {"n": 1, "tags": ["a"], "plan": {"x": 1}})
        await sync.write(ANA, PLAN, {"n": 2, "tags": ["a", "b"], "plan": {"x": 1}}, base_version=base, by="bob")
        done = await sync.write(
            ANA,
            PLAN,
            {"n": 1, "tags": ["a", "c"], "plan": {"x": 1, "y": 2}},
            base_version=base,
            by="cleo",
            policies={"": MERGE, "/tags": UNION},
        )
        assert done.value == {"n": 2, "tags": ["a", "b", "c"], "plan": {"x": 1, "y": 2}}
        assert (done.version, done.is_merged) == (3, True)
        (record,) = await store.read(SCOPE, [KEY])
        assert record is not None
        assert codec.decode(record.body) == done.value
        rows = await store.events(SCOPE, record=KEY)
        assert [codec.decode(row.body) for row in rows] == [{"by": "ana"}, {"by": "bob"}, {"by": "cleo"}]

    async def test_what_both_changed_is_a_conflict_with_its_paths(self, store: Store) -> None:
        sync = SyncManager(store)
        base = await began_at(sync, {"a": 1, "b": 1, "c": 1})
        await sync.write(ANA, PLAN, {"a": 2, "b": 2, "c": 1}, base_version=base, by="bob")
        with pytest.raises(MergeConflict, match="both changed /a, /b") as caught:
            await sync.write(ANA, PLAN, {"a": 3, "c": 1}, base_version=base, by="cleo", policies={"": MERGE})
        assert caught.value.paths == ["/a", "/b"]
        assert caught.value.conflicts[1].theirs == 2
        assert caught.value.conflicts[1].ours is NOTHING
        assert (caught.value.expected, caught.value.seen) == (1, 2)
        assert (await store.read(SCOPE, [KEY]))[0].version == 2  # type: ignore[union-attr]

    async def test_without_policies_any_two_changes_conflict(self, store: Store) -> None:
        """By version: whoever was slower reads and decides again."""
        sync = SyncManager(store)
        base = await began_at(sync, {"a": 1, "b": 1})
        await sync.write(ANA, PLAN, {"a": 2, "b": 1}, base_version=base, by="bob")
        with pytest.raises(MergeConflict, match="the whole value"):
            await sync.write(ANA, PLAN, {"a": 1, "b": 2}, base_version=base, by="cleo")
        assert (await sync.write(ANA, PLAN, {"a": 1, "b": 1}, base_version=base, by="cleo")).version == 2

    async def test_last_writer_goes_by_when_it_was_made(self, store: Store) -> None:
        sync = SyncManager(store)
        base = await began_at(sync, {"a": 1})
        await sync.write(ANA, PLAN, {"a": 2}, base_version=base, by="bob")
        policies = {"/a": LAST}
        early = await sync.write(ANA, PLAN, {"a": 3}, base_version=base, by="x", policies=policies, at_s=1.0)
        assert (early.version, early.value) == (2, {"a": 2})
        late = await sync.write(ANA, PLAN, {"a": 3}, base_version=base, by="x", policies=policies)
        assert (late.version, late.value) == (3, {"a": 3})

    async def test_base_is_found_however_old_it_is(self, store: Store) -> None:
        sync = SyncManager(store)
        base = await began_at(sync, {"mine": 0, "n": 0})
        for number in range(1, 60):
            await sync.write(ANA, PLAN, {"mine": 0, "n": number}, base_version=number, by="bob")
        for old in (base, 19, 20, 21, 45):
            done = await sync.write(
                ANA, PLAN, {"mine": old, "n": old - 1}, base_version=old, by="ana", policies={"": MERGE, "/mine": LAST}
            )
            assert done.value == {"mine": old, "n": 59}

    async def test_base_that_no_journal_holds_is_a_conflict(self, store: Store) -> None:
        for number in range(2):
            put = Put(key=KEY, body=b'{"a":%d}' % number, expect=number)
            await store.commit(SCOPE, Change(change_id=f"bare-{number}", writes=(put,)))
        sync = SyncManager(store)
        with pytest.raises(Conflict, match="does not hold version 1"):
            await sync.write(ANA, PLAN, {"a": 5}, base_version=1, by="ana", policies={"": MERGE})
        assert (await sync.write(ANA, PLAN, {"a": 5}, base_version=2, by="ana")).version == 3

    async def test_deleted_object_is_a_conflict_for_who_changed_it(self, store: Store) -> None:
        sync = SyncManager(store)
        base = await began_at(sync, {"a": 1})
        await store.commit(SCOPE, Change(change_id="gone", writes=(Delete(key=KEY, expect=1),)))
        with pytest.raises(MergeConflict):
            await sync.write(ANA, PLAN, {"a": 2}, base_version=base, by="ana", policies={"": MERGE})
        assert (await sync.write(ANA, PLAN, {"a": 1}, base_version=base, by="ana")).value is NOTHING
        assert (await sync.write(ANA, PLAN, {"a": 2}, base_version=0, by="ana")).version == 3

    async def test_what_else_the_record_has_stays(self, store: Store) -> None:
        put = Put(key=KEY, body=b"{}", expect=0, status="open", due=5.0, queue="q", labels={"x": "1"})
        await store.commit(SCOPE, Change(change_id="first", writes=(put,)))
        await SyncManager(store).update(ANA, PLAN, lambda value: value | {"a": 1}, by="ana")
        (record,) = await store.read(SCOPE, [KEY])
        assert record is not None
        assert (record.status, record.due, record.queue, record.labels) == ("open", 5.0, "q", {"x": "1"})

    async def test_journal_stays_sound(self, store: Any) -> None:
        """Also where others write without a word in between."""
        sync = SyncManager(store)
        for number in range(30):
            if number % 4 == 3:
                put = Put(key=KEY, body=b'{"bare":%d}' % number, expect=None)
                await store.commit(SCOPE, Change(change_id=f"bare-{number}", writes=(put,)))
            await sync.update(ANA, PLAN, lambda value, n=number: {"n": n, "fill": "x" * 200}, by="ana")  # type: ignore[misc]
        found = await store.verify()
        assert found.is_clean, found.problems


class TestRead:
    async def test_what_is_written_is_read(self, store: Store) -> None:
        sync = SyncManager(store)
        for read in (sync.read, sync.look):
            assert await read(ANA, PLAN) == (0, NOTHING, False)
        await began_at(sync, {"a": None})
        for read in (sync.read, sync.look):
            assert await read(ANA, PLAN) == (1, {"a": None}, False)

    async def test_another_users_object_is_another_object(self, store: Store) -> None:
        sync = SyncManager(store)
        await began_at(sync, {"a": 1})
        bob = UserExecutionContext(user="bob", tenant="acme")
        for read in (sync.read, sync.look):
            assert (await read(bob, PLAN)).version == 0
        with pytest.raises(WrongContext):
            await sync.read("ana", PLAN)  # type: ignore[arg-type]


class TestUpdate:
    async def test_writers_that_race_lose_nothing(self, store: Store) -> None:
        sync = SyncManager(store)

        def one_more(value: Any) -> Any:
            return {"n": 1} if value is NOTHING else {"n": value["n"] + 1}

        await asyncio.gather(*(sync.update(ANA, PLAN, one_more, by=f"w{number}") for number in range(8)))
        assert (await sync.update(ANA, PLAN, lambda value: value, by="x")).value == {"n": 8}

    async def test_agents_that_race_are_all_heard(self, store: Store) -> None:
        sync = SyncManager(store)
        base = await began_at(sync, {"found": [], "by": {}})
        policies = {"": MERGE, "/found": UNION}

        async def agent(number: int) -> None:
            value = {"found": [f"f{number}"], "by": {f"agent-{number}": number}}
            await sync.write(ANA, PLAN, value, base_version=base, by=f"agent-{number}", policies=policies)

        await asyncio.gather(*map(agent, range(8)))
        final = (await sync.update(ANA, PLAN, lambda value: value, by="x")).value
        assert sorted(final["found"]) == [f"f{number}" for number in range(8)]
        assert len(final["by"]) == 8


async def test_lost_answer_is_looked_up() -> None:
    faulty = FaultyStore(
        MemoryStore(), script=[When("commit", 1, Fault.LOSE_AFTER), When("commit", 2, Fault.LOSE_BEFORE)]
    )
    sync = SyncManager(faulty)
    assert await began_at(sync, {"a": 1}) == 1
    assert (await sync.write(ANA, PLAN, {"a": 2}, base_version=1, by="ana")).version == 2
    assert faulty.unseen() == []


async def test_who_always_loses_is_told() -> None:
    store = MemoryStore()
    sync = SyncManager(store)
    numbers = iter(range(1000))

    class Busy(MemoryStore):
        async def commit(self, scope: Scope, change: Change) -> Any:
            put = Put(key=KEY, body=b'{"n":%d}' % next(numbers), expect=None)
            await store.commit(SCOPE, Change(change_id=f"busy-{next(numbers)}", writes=(put,)))
            return await store.commit(scope, change)

        async def read(self, scope: Scope, keys: Any) -> Any:
            return await store.read(scope, keys)

    busy = SyncManager(Busy())
    with pytest.raises(Unavailable, match="lost 20 races"):
        await busy.update(ANA, PLAN, lambda value: {"mine": True}, by="ana")
    assert sync.figures().puts == 0  # a store without a cache has nothing to tell


class TestCacheAndTruth:
    async def test_figures_tell_how_far_behind_the_cache_is(self, database: str, valkey_server: ValkeyServer) -> None:
        store = MirrorStore(f"hybrid+{database}?cache={valkey_server.url}")
        sync = SyncManager(store)
        await usable(store)
        done = await sync.write(ANA, PLAN, {"a": 1}, base_version=0, by="ana")
        assert sync.figures().queued == 1
        await sync.flush()
        figures = sync.figures()
        assert (figures.queued, figures.puts, figures.weakness) == (0, 1, None)
        assert 0 < figures.lag_s < 5
        assert await sync.look(ANA, PLAN, least_version=done.version) == (1, {"a": 1}, False)
        assert sync.figures().hits == 1
        generation = sync.figures().generation
        await sync.invalidate()
        assert sync.figures().generation > generation
        assert sync.figures().raises >= 1
        await store.close()
