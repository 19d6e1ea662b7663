"""Contract of `StoreAdmin`: what operators do to a store."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from holdfast.errors import Corrupt, HoldfastError, InvalidInput, Rejected
from holdfast.store.contract.history import History
from holdfast.store.contract.records import Key, Position, Query
from holdfast.store.memory import MemoryStore
from holdfast.store.rows import journal
from holdfast.testing.conformance.mending import MendingContract, held
from holdfast.testing.conformance.samples import (
    ANA,
    BOB,
    BODIES,
    SYSTEM,
    AdminStore,
    OpenStore,
    StepClock,
    change,
    closing,
    delete,
    event,
    key,
    must_read,
    put,
    read_one,
    removal,
    write_history,
)


class AdminContract(MendingContract):
    async def test_new_store_is_clean_and_up_to_date(self, store: AdminStore) -> None:
        assert await store.migrate() == []
        found = await store.verify()
        assert (found.records, found.events, found.problems) == (0, 0, ())

    async def test_verify_counts(self, store: AdminStore) -> None:
        await write_history(store, BODIES)
        await store.commit(ANA, change(put("b"), put("c"), event("c")))
        await store.commit(ANA, change(delete("c"), event("c")))
        found = await store.verify()
        assert (found.records, found.events, found.problems) == (2, 32, ())
        assert found.is_clean
        assert await store.repair() == []

    async def test_body_that_its_journal_does_not_tell_is_found_and_repaired(self, store: AdminStore) -> None:
        """The journal says one thing and the record another, each with a right digest."""
        if store.capabilities.is_sealed:
            pytest.skip("writes the record's own body as its delta, and says so: the two cannot differ")
        told, stored = {"n": 1}, {"n": 2}
        delta = journal.delta(None, told, 1)
        await store.commit(ANA, change(put("a", body=json.dumps(stored).encode(), owner="me"), event("a", delta=delta)))
        (problem,) = (await store.verify()).problems
        assert problem.where == "run a"
        assert "journal" in problem.expected
        (words,) = await store.repair()
        assert "run a: rebuilt from its journal at version 1" in words
        record = await must_read(store, "a")
        assert (json.loads(record.body), record.owner, record.epoch) == (told, "", 1)
        assert (await store.verify()).is_clean

    async def test_record_removed_whole_and_made_again_is_no_problem(self, store: AdminStore) -> None:
        memo = key("v1/a", kind="memo")
        for _ in range(2):
            await store.commit(ANA, change(put(memo), event(memo)))
            await store.commit(ANA, change(removal("v1/")))
        assert (await store.verify()).is_clean

    async def test_rebuilding_equals_what_is_stored(self, store: AdminStore) -> None:
        await write_history(store, BODIES, every=7)
        rows = await store.events(ANA, record=key("a"))
        assert journal.rebuild(rows) == json.loads((await must_read(store, "a")).body)
        for version in range(1, len(BODIES) + 1):
            assert journal.rebuild(row for row in rows if row.version <= version) == BODIES[version - 1]

    async def test_trim_keeps_an_anchor_from_which_the_body_can_be_rebuilt(self, open_store: OpenStore) -> None:
        clock = StepClock()
        async with closing(open_store(clock)) as store:
            await write_history(store, BODIES, every=7)
            await store.commit(ANA, change(put("b"), event("b")))
            clock.advance(100)
            await store.commit(ANA, change(event("a", name="note")))
            assert await store.trim(before_s=clock.time_s() - 200) == 0
            gone = await store.trim(before_s=clock.time_s() - 50)
            left = await store.events(ANA, record=key("a"))
            assert 0 < gone == len(BODIES) + 1 - len(left)
            assert journal.rebuild(left) == BODIES[-1]
            assert len(await store.events(ANA, record=key("b"))) == 1
            assert (await store.verify()).is_clean
            assert await store.trim(before_s=clock.time_s() - 50) == 0
            await store.commit(ANA, change(event("a")))
            assert (await store.verify()).is_clean

    async def test_trim_keeps_as_many_as_asked(self, open_store: OpenStore) -> None:
        clock = StepClock()
        async with closing(open_store(clock)) as store:
            for number in range(10):
                await store.commit(ANA, change(put("a", expect=number), event("a")))
            clock.advance(100)
            assert await store.trim(before_s=clock.time_s(), keep_per_record=4) == 6
            rows = await store.events(ANA, record=key("a"))
            assert [row.version for row in rows] == [7, 8, 9, 10]
            assert await store.events(ANA, stream=("acme", "ana")) == rows
            assert (await store.verify()).is_clean

    async def test_trim_takes_the_whole_journal_of_a_record_that_is_gone_for_good(self, open_store: OpenStore) -> None:
        """Removed by prefix, so that not even its version goes on: once all of its journal is old, nothing is kept."""
        clock = StepClock()
        async with closing(open_store(clock)) as store:
            gone, again, deleted = (key(name, kind="memo") for name in ("v1/gone", "v1/again", "v2/deleted"))
            for number in range(3):
                writes = [put(each, expect=number) for each in (gone, again, deleted)]
                await store.commit(ANA, change(*writes, event(gone), event(again), event(deleted)))
            clock.advance(100)
            assert await store.trim(before_s=clock.time_s() - 50) == 6  # an anchor each, while they live
            await store.commit(ANA, change(put(gone, expect=3), event(gone), removal("v1/a"), delete(deleted)))
            await store.commit(ANA, change(removal("v1/g")))
            assert await store.trim(before_s=clock.time_s() - 50, keep_per_record=5) == 1  # all that `again` had left
            assert await store.events(ANA, record=again) == []
            assert [row.version for row in await store.events(ANA, record=gone)] == [3, 4]
            assert len(await store.events(ANA, record=deleted)) == 1, (
                "a deleted record goes on, and so does its journal"
            )
            assert (await store.verify()).is_clean
            clock.advance(100)
            await store.commit(ANA, change(put(again), event(again)))
            assert (await store.verify()).is_clean, "made again, a record begins anew"
            assert await store.trim(before_s=clock.time_s() - 50) == 2
            assert await store.events(ANA, record=gone) == []
            found = await store.verify()
            assert (found.records, found.events, found.problems) == (1, 2, ())
            async with store.snapshot() as view:
                assert {each.key async for each in view.histories()} == {again, deleted}
                assert await view.streams() == {("acme", "ana"): 11}

    async def test_second_life_of_a_removed_record_is_its_own(self, store: AdminStore) -> None:
        """What the journal tells of its first life is not taken for its second."""
        memo = key("v1/a", kind="memo")
        delta = journal.delta(None, {"life": 1}, 1)
        await store.commit(ANA, change(put(memo, body=b'{"life":1}'), event(memo, delta=delta)))
        await store.commit(ANA, change(put(memo, expect=1, body=b"1"), event(memo)))
        await store.commit(ANA, change(removal("v1/")))
        await store.commit(ANA, change(put(memo, body=b'{"life":2}')))
        assert (await store.verify()).is_clean
        await store.commit(ANA, change(put(memo, expect=1, body=b'{"life":3}'), event(memo)))
        assert (await store.verify()).is_clean
        assert await store.repair() == []

    async def test_backup_restores_all_of_it(self, open_store: OpenStore, tmp_path: Path) -> None:
        backup = tmp_path / "backup.db"
        async with closing(open_store()) as store:
            await write_history(store, BODIES)
            await store.commit(
                BOB, change(put(key("b", user="bob"), labels={"x": "y"}, due=5), put(key("c", user="bob")))
            )
            await store.commit(BOB, change(delete(key("c", user="bob"))))
            made = await store.backup(backup)
            assert (made.records, made.events) == (2, 30)
            before = (await store.scan(SYSTEM, Query(kind="run"))).records
            await write_history(store, BODIES[:5], "later")
            assert await store.restore(backup, overwrite=True) == made
            assert (await store.scan(SYSTEM, Query(kind="run"))).records == before
            assert [row.version for row in await store.events(ANA, record=key("a"))] == list(range(1, 31))
            assert (await store.verify()) == made
            again = await store.commit(BOB, change(put(key("c", user="bob"))))
            assert again.versions[0] > 2, "a deleted record's versions go on after a restore"

    async def test_restored_stream_is_a_new_incarnation(self, store: AdminStore, tmp_path: Path) -> None:
        """Who holds a position from the lost future sees everything that comes after the restore."""
        await store.commit(ANA, change(put("a"), event("a")))
        await store.backup(tmp_path / "backup.db")
        lost = await store.commit(ANA, change(event("a", name="lost"), event("a", name="lost too")))
        assert lost.position is not None
        await store.restore(tmp_path / "backup.db", overwrite=True)
        await store.commit(ANA, change(event("a", name="new")))
        (row,) = await store.events(ANA, stream=("acme", "ana"), after=lost.position)
        assert (row.name, row.position) == ("new", Position(lost.position.incarnation + 1, 2))
        assert (await store.verify()).is_clean

    async def test_snapshot_shows_everything_as_it_was_when_it_was_taken(self, store: AdminStore) -> None:
        await write_history(store, BODIES[:3], "b")
        await store.commit(ANA, change(put("a"), put(key("m/1", kind="memo"))))
        await store.commit(ANA, change(delete("a")))
        async with store.snapshot() as view:
            await write_history(store, BODIES[:2], "c")
            await store.commit(ANA, change(put("b", expect=3), event("b")))
            found = [history async for history in view.histories()]
            rest = [history async for history in view.histories(after=found[0].key)]
            assert await view.streams() == {("acme", "ana"): 3}
        assert [(each.key.kind, each.key.id) for each in found] == [("memo", "m/1"), ("run", "a"), ("run", "b")]
        assert rest == found[1:]
        rows = {each.key.id: each.row for each in found}
        assert rows["a"] is not None
        assert (rows["a"].deleted, rows["a"].version) == (True, 2)
        assert rows["b"] is not None
        assert (rows["b"].version, len(found[2].events)) == (3, 3)

    async def test_what_another_store_held_is_loaded_as_it_was(self, open_store: OpenStore) -> None:
        """Versions, epochs, chains, trimmed journals and numbers go on where they were."""
        clock = StepClock()
        other = MemoryStore(clock=clock)
        await write_history(other, BODIES, every=7)
        await other.commit(ANA, change(put("gone", raise_epoch=True, owner="me"), event("gone")))
        await other.commit(ANA, change(delete("gone"), event("gone")))
        await other.commit(BOB, change(put(key("b", user="bob"), due=7, status="open", labels={"ticket": "T"})))
        clock.advance(100)
        await other.trim(before_s=clock.time_s() - 50)
        async with closing(open_store(clock)) as store, other.snapshot() as view:
            for number in range(9):  # twice the same: a copy that was interrupted is begun again
                await store.load([each async for each in view.histories()][number % 3 :])
            await store.load([History(key=key("never"), row=None, events=())])
            await store.adopt(await view.streams(), incarnation=view.incarnation)
            assert await store.verify() == await other.verify()
            assert (await store.scan(SYSTEM, Query(kind="run"))) == (await other.scan(SYSTEM, Query(kind="run")))
            assert await store.events(ANA, stream=("acme", "ana")) == await other.events(ANA, stream=("acme", "ana"))
            found = await store.scan(BOB, Query(kind="run", statuses=("open",), labels={"ticket": "T"}, by_due=True))
            assert [record.key.id for record in found.records] == ["b"]
            for each in (store, other):
                again = await each.commit(ANA, change(put("gone", raise_epoch=True), event("gone"), event("a")))
                assert (again.versions, again.epochs) == ((3,), (2,))
                assert again.position == Position(view.incarnation, len(BODIES) + 4)

    async def test_loading_replaces_what_is_under_a_key(self, store: AdminStore) -> None:
        await write_history(store, BODIES[:2])
        await store.commit(ANA, change(put("b", status="open"), event("b")))
        async with store.snapshot() as view:
            before = {each.key.id: each async for each in view.histories()}
        await store.commit(ANA, change(put("a", expect=2, status="done", due=5, owner="x"), event("a")))
        await store.load([before["a"], History(key=key("b"), row=None, events=())])
        assert (await must_read(store, "a")).version == 2
        assert [each.version for each in await store.events(ANA, record=key("a"))] == [1, 2]
        for query in (Query(kind="run", statuses=("done", "open")), Query(kind="run", by_due=True)):
            assert (await store.scan(SYSTEM, query)).records == ()
        assert await read_one(store, "b") is None
        assert (await store.verify()).is_clean

    async def test_restore_refuses_a_store_that_is_not_empty(self, store: AdminStore, tmp_path: Path) -> None:
        await store.commit(ANA, change(put("a")))
        await store.backup(tmp_path / "backup.db")
        with pytest.raises(Rejected, match="overwrite"):
            await store.restore(tmp_path / "backup.db")
        assert (await must_read(store, "a")).version == 1

    async def test_damaged_backup_is_refused_and_nothing_lost(self, store: AdminStore, tmp_path: Path) -> None:
        backup = tmp_path / "backup.db"
        await store.commit(ANA, change(put("a", body=b'"precious"'), event("a")))
        await store.backup(backup)
        history = await held(store, key("a"))
        assert history.row is not None
        assert history.row.record is not None
        stored = history.row.record.body
        letter = next(place for place in range(8, len(stored)) if stored[place : place + 1].isalpha())
        spoilt = stored[:letter] + stored[letter : letter + 1].swapcase() + stored[letter + 1 :]
        assert stored in backup.read_bytes()
        backup.write_bytes(backup.read_bytes().replace(stored, spoilt))
        with pytest.raises(Corrupt, match="run a"):
            await store.restore(backup, overwrite=True)
        assert (await must_read(store, "a")).body == b'"precious"'

    async def test_what_is_no_backup_is_refused(self, store: AdminStore, tmp_path: Path) -> None:
        (tmp_path / "text").write_text("not a database, but long enough to be read as one " * 50)
        for source in (tmp_path / "text", tmp_path / "nowhere"):
            with pytest.raises((Corrupt, InvalidInput)):
                await store.restore(source)
        with pytest.raises(HoldfastError):
            await store.backup(tmp_path / "no folder" / "backup.db")
        assert [name for name in os.listdir(tmp_path) if "partial" in name] == []

    async def test_durable_store_keeps_everything_over_a_restart(self, open_store: OpenStore) -> None:
        async with closing(open_store()) as store:
            if not store.capabilities.durable:
                pytest.skip("keeps nothing when it is closed, and says so")
            await write_history(store, BODIES)
            before = (await must_read(store, "a"), await store.events(ANA, record=key("a")))
        async with closing(open_store()) as store:
            assert (await must_read(store, "a"), await store.events(ANA, record=key("a"))) == before
            assert (await store.verify()).is_clean

    async def test_two_users_of_one_place_see_each_others_commits(self, open_store: OpenStore) -> None:
        async with closing(open_store()) as one:
            if not one.capabilities.many_processes:
                pytest.skip("serves one process only, and says so")
            async with closing(open_store()) as two:
                since = await two.wait(0)
                await one.commit(ANA, change(put("a")))
                while (await must_read(one, "a")) not in await two.read(SYSTEM, [Key("acme", "ana", "run", "a")]):
                    since = await two.wait(since)
                await two.commit(ANA, change(put("a", expect=1)))
                assert (await must_read(one, "a")).version == 2
