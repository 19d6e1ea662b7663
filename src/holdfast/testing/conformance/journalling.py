"""Contract: events by record and by user, in order, without gaps, each linked to the one before."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.errors import Conflict
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Event, Position
from holdfast.store.rows.digest import digest_of, digest_of_event
from holdfast.testing.conformance.samples import (
    ANA,
    BOB,
    TENANT,
    Contract,
    change,
    delete,
    event,
    key,
    must_read,
    put,
)

STREAM = ("acme", "ana")


def seqs(events: list[Event]) -> list[int]:
    return [each.position.seq for each in events]


class JournallingContract(Contract):
    async def test_event_comes_back_as_it_was_sent(self, store: Store) -> None:
        body, delta = '{"by":"änne 😀"}'.encode(), b'{"full":{}}'
        answer = await store.commit(ANA, change(put("a"), event("a", body=body, delta=delta), change_id="c-1"))
        (row,) = await store.events(ANA, record=key("a"))
        assert (row.key, row.version, row.name, row.body, row.delta) == (key("a"), 1, "transition", body, delta)
        assert (row.change_id, row.at, row.position, row.previous) == ("c-1", answer.at, answer.position, "")

    async def test_journal_is_a_chain_that_ends_in_the_record(self, store: Store) -> None:
        await store.commit(ANA, change(put("a"), event("a")))
        await store.commit(ANA, change(put("a", expect=1), event("a", name="one"), event("a", name="two")))
        await store.commit(ANA, change(put("a", expect=2)))
        await store.commit(ANA, change(event("a", name="note")))
        rows = await store.events(ANA, record=key("a"))
        assert [(row.name, row.version) for row in rows] == [("transition", 1), ("one", 2), ("two", 2), ("note", 3)]
        assert [row.previous for row in rows] == ["", *(row.digest for row in rows[:-1])]
        record = await must_read(store, "a")
        assert (record.chain, record.version) == (rows[-1].digest, 3)
        if not store.capabilities.is_sealed:  # digests are over what is stored, which is not what is read there
            assert all(digest_of_event(row) == row.digest for row in rows)
            assert record.digest == digest_of(record)

    async def test_event_needs_a_record(self, store: Store) -> None:
        with pytest.raises(Conflict, match=r"run a: expected a record to journal transition for, found none"):
            await store.commit(ANA, change(event("a")))

    async def test_delete_is_journalled_and_the_chain_goes_on_after_it(self, store: Store) -> None:
        await store.commit(ANA, change(put("a"), event("a", name="made")))
        await store.commit(ANA, change(delete("a"), event("a", name="gone")))
        await store.commit(ANA, change(put("a"), event("a", name="made again")))
        rows = await store.events(ANA, record=key("a"))
        assert [row.name for row in rows] == ["made", "gone", "made again"]
        assert [row.previous for row in rows] == ["", rows[0].digest, rows[1].digest]
        assert len({row.version for row in rows}) == 3

    async def test_stream_numbers_have_no_gaps(self, store: Store) -> None:
        changes = [change(put(f"a{number}"), event(f"a{number}"), event(f"a{number}")) for number in range(20)]
        changes.insert(7, change(put("x", expect=3), event("x")))  # loses, and takes no number
        results = await asyncio.gather(*(store.commit(ANA, each) for each in changes), return_exceptions=True)
        assert sum(isinstance(result, Conflict) for result in results) == 1
        rows = await store.events(ANA, stream=STREAM)
        assert seqs(rows) == list(range(1, 41))

    async def test_streams_of_users_are_their_own(self, store: Store) -> None:
        shared = key("lock", user="", kind="lock")
        await store.commit(ANA, change(put("a"), event("a"), put(shared), event(shared)))
        await store.commit(BOB, change(put(key("b", user="bob")), event(key("b", user="bob"))))
        for user, id_ in (("ana", "a"), ("bob", "b"), ("", "lock")):
            (row,) = await store.events(TENANT, stream=("acme", user))
            assert (row.key.id, row.position.seq) == (id_, 1)

    async def test_stream_resumes_behind_a_position(self, store: Store) -> None:
        for number in range(10):
            await store.commit(ANA, change(put(f"a{number}"), event(f"a{number}")))
        read: list[Event] = []
        while page := await store.events(ANA, stream=STREAM, after=read[-1].position if read else None, limit=3):
            assert len(page) <= 3
            read += page
        assert seqs(read) == list(range(1, 11))
        beyond = Position(read[-1].position.incarnation + 1, 0)
        assert await store.events(ANA, stream=STREAM, after=beyond) == []

    async def test_journal_resumes_behind_a_version_or_a_position(self, store: Store) -> None:
        for number in range(5):
            await store.commit(ANA, change(put("a", expect=number), event("a"), event("a")))
        assert [row.version for row in await store.events(ANA, record=key("a"), after_version=3)] == [4, 4, 5, 5]
        assert await store.events(ANA, record=key("a"), after_version=5) == []
        first = await store.events(ANA, record=key("a"), limit=3)
        rest = await store.events(ANA, record=key("a"), after=first[-1].position)
        assert [row.version for row in first + rest] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]

    async def test_commit_answers_with_its_last_position(self, store: Store) -> None:
        answer = await store.commit(ANA, change(put("a"), event("a"), event("a")))
        rows = await store.events(ANA, stream=STREAM)
        assert answer.position == rows[-1].position
        assert Position.parse(str(answer.position)) == answer.position
