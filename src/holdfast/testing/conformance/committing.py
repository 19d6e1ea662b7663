"""Contract: a change commits whole or not at all, against versions and epochs."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.errors import Conflict, Fenced, InvalidInput
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import ABSENT, Claim, Put, Query, Require
from holdfast.testing.conformance.samples import (
    ANA,
    BOB,
    SYSTEM,
    TENANT,
    Contract,
    change,
    delete,
    event,
    key,
    must_read,
    put,
    read_one,
    removal,
)


class CommittingContract(Contract):
    async def test_commit_answers_with_what_it_made(self, store: Store) -> None:
        first = await store.commit(ANA, change(put("a"), put("b", raise_epoch=True), change_id="first"))
        assert (first.change_id, first.versions, first.epochs, first.position) == ("first", (1, 1), (0, 1), None)
        second = await store.commit(ANA, change(put("a", expect=1), delete("b", expect=1), event("a")))
        assert (second.versions, second.epochs) == ((2, 0), (0, 0))
        assert second.position is not None
        assert second.at >= first.at > 0

    async def test_record_comes_back_as_it_was_put(self, store: Store) -> None:
        at = key("a", kind="state", user="")
        labels = {"ticket": "INC-1", "größe": "ü/\"'$.x"}
        body = '{"text": "ä\\n\\"quoted\\" 😀", "number": 1.5}'.encode()
        sent = Put(key=at, body=body, expect=0, status="open", due=12.25, queue="q", owner="me", labels=labels)
        answer = await store.commit(ANA, change(sent, change_id="c-1"))
        record = await must_read(store, at)
        assert (record.key, record.version, record.body, record.status) == (at, 1, body, "open")
        assert (record.due, record.queue, record.owner, record.epoch) == (12.25, "q", "me", 0)
        assert (dict(record.labels), record.change_id, record.written_at) == (labels, "c-1", answer.at)

    async def test_what_is_due_is_asked_to_the_microsecond(self, store: Store) -> None:
        """Half a microsecond before a due time is that time, for a scan and for a claim."""
        await store.commit(ANA, change(put("a", due=100.000001)))
        just_before = 100.0000007
        page = await store.scan(ANA, Query(kind="run", due_until=just_before, by_due=True))
        claim = Claim(kind="run", owner="me", from_owners=("",), due_until=just_before)
        assert len(page.records) == len(await store.claim(ANA, claim)) == 1

    async def test_due_is_kept_to_the_microsecond(self, store: Store) -> None:
        for number, due in enumerate((0, 1, 0.1, 1763692800.123456, 1763692800.1234567, -0.0)):
            await store.commit(ANA, change(put(f"a{number}", due=due)))
            assert (await must_read(store, f"a{number}")).due == pytest.approx(due, abs=1e-6)

    async def test_stale_version_is_a_conflict_that_names_both(self, store: Store) -> None:
        await store.commit(ANA, change(put("a")))
        await store.commit(ANA, change(put("a", expect=1)))
        with pytest.raises(Conflict, match=r"run a: expected version 1, found 2") as caught:
            await store.commit(ANA, change(put("a", expect=1, body=b'"lost"')))
        assert (caught.value.key, caught.value.expected, caught.value.seen) == (key("a"), 1, 2)
        assert (await must_read(store, "a")).body == b"{}"

    async def test_updates_folded_into_one_write_have_a_version_each(self, store: Store) -> None:
        """One row is written, and the journal tells each of them at its own version."""
        await store.commit(ANA, change(put("a"), event("a")))
        folded = change(put("a", expect=1, folded=3), event("a"), event("a", name="note"), event("a"))
        assert (await store.commit(ANA, folded)).versions == (4,)
        told = await store.events(ANA, record=key("a"))
        assert [(each.version, each.name) for each in told] == [
            (1, "transition"), (2, "transition"), (3, "note"), (4, "transition"),
        ]  # fmt: skip
        assert [each.version for each in await store.events(ANA, record=key("a"), after_version=2)] == [3, 4]
        assert (await must_read(store, "a")).version == 4
        assert (await store.commit(ANA, change(put("a", expect=4)))).versions == (5,)

    async def test_a_fold_tells_each_of_its_updates(self, store: Store) -> None:
        for count in (0, 2):
            with pytest.raises(InvalidInput, match=r"run a: expected one event for each of the"):
                await store.commit(ANA, change(put("a", folded=count), event("a")))
        assert await read_one(store, "a") is None

    async def test_absent_means_absent(self, store: Store) -> None:
        await store.commit(ANA, change(put("a")))
        with pytest.raises(Conflict, match=r"run a: expected no record, found 1"):
            await store.commit(ANA, change(put("a", expect=ABSENT)))
        with pytest.raises(Conflict, match=r"run b: expected version 3, found none"):
            await store.commit(ANA, change(put("b", expect=3)))

    async def test_expecting_nothing_writes_over_whatever_is_there(self, store: Store) -> None:
        for version in (1, 2):
            assert (await store.commit(ANA, change(put("a", expect=None)))).versions == (version,)

    async def test_all_or_nothing(self, store: Store) -> None:
        await store.commit(ANA, change(put("a"), put(key("m/1", kind="memo"))))
        with pytest.raises(Conflict):
            await store.commit(ANA, change(put("b"), removal("m/"), event("a"), put("a", expect=7)))
        assert await read_one(store, "b") is None
        assert await read_one(store, key("m/1", kind="memo")) is not None
        assert await store.events(ANA, record=key("a")) == []

    async def test_deleted_record_refuses_its_version_and_goes_on_counting(self, store: Store) -> None:
        await store.commit(ANA, change(put("a"), put("b")))
        await store.commit(ANA, change(delete("a", expect=1)))
        assert await read_one(store, "a") is None
        for write in (put("a", expect=1), put("a", expect=2), delete("a", expect=1), delete("a", expect=2)):
            with pytest.raises(Conflict, match="found none"):
                await store.commit(ANA, change(write))
        again = await store.commit(ANA, change(put("a", expect=ABSENT)))
        assert again.versions[0] > 1
        with pytest.raises(Conflict):
            await store.commit(ANA, change(put("a", expect=1)))

    async def test_deleting_what_is_not_there_does_nothing(self, store: Store) -> None:
        assert (await store.commit(ANA, change(delete("a")))).versions == (0,)
        assert (await store.commit(ANA, change(put("a")))).versions == (1,)
        with pytest.raises(Conflict):
            await store.commit(ANA, change(delete("b", expect=1)))

    async def test_epoch_survives_a_delete(self, store: Store) -> None:
        await store.commit(ANA, change(put("a", raise_epoch=True, owner="one")))
        await store.commit(ANA, change(delete("a")))
        again = await store.commit(ANA, change(put("a", raise_epoch=True, owner="two")))
        assert again.epochs == (2,)

    async def test_owner_is_kept_taken_and_released(self, store: Store) -> None:
        await store.commit(ANA, change(put("a", owner="one", raise_epoch=True)))
        await store.commit(ANA, change(put("a", expect=1, epoch=1)))
        kept = await must_read(store, "a")
        assert (kept.owner, kept.epoch) == ("one", 1)
        await store.commit(ANA, change(put("a", expect=2, owner="two", raise_epoch=True)))
        taken = await must_read(store, "a")
        assert (taken.owner, taken.epoch) == ("two", 2)
        await store.commit(ANA, change(put("a", expect=3, owner="")))
        released = await must_read(store, "a")
        assert (released.owner, released.epoch) == ("", 2)

    async def test_old_epoch_is_fenced(self, store: Store) -> None:
        await store.commit(ANA, change(put("a", owner="one", raise_epoch=True)))
        await store.commit(ANA, change(put("a", expect=1, owner="two", raise_epoch=True)))
        stale = Require(key=key("a"), epoch=1)
        for refused in (change(put("a", expect=2, epoch=1)), change(put("b"), stale), change(delete("a", epoch=1))):
            with pytest.raises(Fenced, match=r"run a: expected epoch 1, found epoch 2") as caught:
                await store.commit(ANA, refused)
            assert (caught.value.expected, caught.value.seen) == (1, 2)
        assert await read_one(store, "b") is None

    async def test_lost_ownership_is_told_before_a_stale_version(self, store: Store) -> None:
        """Who lost the record must stop; a Conflict would make him read again and go on."""
        await store.commit(ANA, change(put("a", raise_epoch=True)))
        with pytest.raises(Fenced):
            await store.commit(ANA, change(put("a", expect=9, epoch=0)))

    async def test_epoch_guard_needs_a_record(self, store: Store) -> None:
        await store.commit(ANA, change(put("a", raise_epoch=True)))
        await store.commit(ANA, change(delete("a")))
        for at in ("a", "never"):
            with pytest.raises(Fenced, match="found no record"):
                await store.commit(ANA, change(put(at, expect=None, epoch=1)))

    async def test_require_is_checked_and_not_written(self, store: Store) -> None:
        await store.commit(ANA, change(put("a", raise_epoch=True)))
        before = await must_read(store, "a")
        good = [Require(key=key("a"), version=1), Require(key=key("a"), epoch=1), Require(key=key("z"), version=0)]
        await store.commit(ANA, change(put("b"), *good))
        assert await must_read(store, "a") == before
        for bad in (
            Require(key=key("a"), version=2),
            Require(key=key("a"), version=0),
            Require(key=key("z"), version=1),
        ):
            with pytest.raises(Conflict):
                await store.commit(ANA, change(put("c"), bad))
        assert await read_one(store, "c") is None

    async def test_prefix_removal_leaves_nothing_but_what_is_not_under_it(self, store: Store) -> None:
        memos = ["v1/a", "v1/b", "v1", "v10/a", "v2/a", "v1/\U0010ffff", "v1/\ud7ff\ue000", "V1/a", "v1/_%"]
        await store.commit(ANA, change(*(put(key(id_, kind="memo")) for id_ in memos), put("v1/run")))
        await store.commit(BOB, change(put(key("v1/a", kind="memo", user="bob"))))
        await store.commit(ANA, change(removal("v1/")))
        left = [id_ for id_ in memos if await read_one(store, key(id_, kind="memo"))]
        assert left == ["v1", "v10/a", "v2/a", "V1/a"]
        assert await read_one(store, "v1/run") is not None
        assert await read_one(store, key("v1/a", kind="memo", user="bob")) is not None
        again = await store.commit(ANA, change(put(key("v1/a", kind="memo"))))
        assert again.versions == (1,)

    async def test_removed_and_written_again_in_quick_succession(self, store: Store) -> None:
        """In one batch or in several: a removal hits what came before it and spares what comes after it."""
        memo = key("v1/a", kind="memo")
        results = await asyncio.gather(
            store.commit(ANA, change(put(memo, body=b"1"))),
            store.commit(ANA, change(removal("v1/"))),
            store.commit(ANA, change(put(memo, body=b"2"))),
            store.commit(
                ANA,
                change(put(memo, body=b"3")),
            ),
            return_exceptions=True,
        )
        assert [type(result).__name__ for result in results] == ["Commit", "Commit", "Commit", "Conflict"]
        assert (await must_read(store, memo)).body == b"2"

    async def test_changes_of_one_sender_keep_their_order(self, store: Store) -> None:
        await store.commit(ANA, change(put("a")))
        commits = [store.commit(ANA, change(put("a", expect=number, body=b"%d" % number))) for number in range(1, 101)]
        answers = await asyncio.gather(*commits)
        assert [answer.versions for answer in answers] == [(number,) for number in range(2, 102)]

    async def test_changes_that_share_a_key_keep_their_order_across_senders(self, store: Store) -> None:
        shared = key("lock", user="", kind="lock")
        scopes = [ANA, BOB, TENANT, SYSTEM]
        await store.commit(ANA, change(put(shared)))
        commits = [
            store.commit(scopes[number % 4], change(put(shared, expect=number), event(shared)))
            for number in range(1, 101)
        ]
        answers = await asyncio.gather(*commits)
        assert [answer.versions for answer in answers] == [(number,) for number in range(2, 102)]

    async def test_one_of_two_that_race_wins(self, store: Store) -> None:
        for number in range(20):
            results = await asyncio.gather(
                *(store.commit(ANA, change(put(f"a{number}", body=body))) for body in (b"1", b"2", b"3")),
                return_exceptions=True,
            )
            assert sorted(type(result).__name__ for result in results) == ["Commit", "Conflict", "Conflict"]

    async def test_one_stale_version_in_a_batch_fails_alone(self, store: Store) -> None:
        await asyncio.gather(*(store.commit(ANA, change(put(f"a{number}"))) for number in range(64)))
        results = await asyncio.gather(
            *(store.commit(ANA, change(put(f"a{number}", expect=1 + (number == 17)))) for number in range(64)),
            return_exceptions=True,
        )
        assert [number for number, result in enumerate(results) if isinstance(result, BaseException)] == [17]
        assert isinstance(results[17], Conflict)

    async def test_cancelled_caller_does_not_cancel_the_change(self, store: Store) -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(store.commit(ANA, change(put("a"), event("a"))))
            await asyncio.sleep(0)
            task.cancel()
        for _ in range(20_000):  # a crowded machine may take its time
            if await read_one(store, "a"):
                break
        assert (await must_read(store, "a")).version == 1
