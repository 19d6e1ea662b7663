"""Contract of `repair`: what is sound stays, what can be told is told anew, and it says what it did.

Damage is planted by `load`, which writes rows as they are given, so that every back end is damaged in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from holdfast import codec
from holdfast.errors import Conflict, Corrupt, Fenced
from holdfast.store.contract.history import History
from holdfast.store.contract.records import Event, Key, Record
from holdfast.store.decisions.rules import moment
from holdfast.store.rows import journal
from holdfast.store.rows.copies import COPY
from holdfast.store.rows.digest import digest_of, digest_of_event
from holdfast.testing.conformance.samples import (
    ANA,
    BODIES,
    AdminStore,
    Contract,
    change,
    delete,
    event,
    key,
    must_read,
    put,
    read_one,
    write_history,
)

SPOILT = b'{"spoilt":true}'
Damage = Callable[[History], History]


async def held(store: AdminStore, at: Key) -> History:
    """All that the store holds under a key."""
    async with store.snapshot() as view:
        found = [each async for each in view.histories() if each.key == at]
    assert found, f"expected something under {at}, found nothing"
    return found[0]


async def damage(store: AdminStore, at: Key, *damages: Damage) -> None:
    """Plant damage under a key, of which `verify` must hear."""
    history = await held(store, at)
    for each in damages:
        history = each(history)
    await store.load([history])
    assert any(str(at) in problem.where for problem in (await store.verify()).problems)


def spoil_record(**fields: Any) -> Damage:
    """The record with other fields than its digest was taken over: its body, unless said otherwise."""

    def spoil(history: History) -> History:
        assert history.row is not None
        assert history.row.record is not None
        spoilt: Record = replace(history.row.record, **(fields or {"body": SPOILT}))
        row = history.row._replace(
            record=spoilt, version=spoilt.version, epoch=spoilt.epoch, owner=spoilt.owner, chain=spoilt.chain
        )
        return replace(history, row=row)

    return spoil


def spoil_event(version: int) -> Damage:
    """The journal row of a version with another body than its digest was taken over."""
    return _on_events(
        lambda events: [replace(each, body=SPOILT) if each.version == version else each for each in events]
    )


def lose_events(*versions: int) -> Damage:
    """The journal without the rows of some versions."""
    return _on_events(lambda events: [each for each in events if each.version not in versions])


def _on_events(alter: Callable[[Sequence[Event]], list[Event]]) -> Damage:
    return lambda history: replace(history, events=alter(history.events))


async def keep_copy(store: AdminStore, name: str, id_: str = "a", **fields: Any) -> None:
    """A copy of a record as it stands, as `copies` describes it."""
    record = await must_read(store, id_)
    told = {
        "kind": record.key.kind,
        "version": record.version,
        "epoch": record.epoch,
        "status": record.status,
        "due": record.due,
        "queue": record.queue,
        "labels": dict(record.labels),
    }
    body = {"name": name, "snapshot": json.loads(record.body), "record": told | fields}
    await store.commit(ANA, change(put(copy_key(name, id_), body=codec.encode(body), expect=None)))


def copy_key(name: str, id_: str = "a") -> Key:
    """Where a copy lies."""
    return key(f"{id_}/{name}", kind=COPY)


async def step(store: AdminStore, version: int, body: Any, *, before: Any, id_: str = "a") -> None:
    """One more transition, as a room writes it that knows the body before."""
    delta = journal.delta(before, body, version)
    sent = put(id_, expect=version - 1, body=codec.encode(body))
    await store.commit(ANA, change(sent, event(id_, delta=delta)))


async def goes_on(store: AdminStore, id_: str = "a") -> None:
    """A repaired record takes the next transition, and its journal tells it."""
    record = await must_read(store, id_)
    body = json.loads(record.body)
    await step(store, record.version + 1, {**body, "on": 1}, before=body, id_=id_)
    assert journal.rebuild(await store.events(ANA, record=key(id_))) == {**body, "on": 1}
    assert (await store.verify()).is_clean


class MendingContract(Contract):
    async def test_event_does_not_make_damage_good(self, store: AdminStore) -> None:
        """A row that is journalled for a record without writing it moves its chain, and seals it anew."""
        await write_history(store, BODIES)
        await damage(store, key("a"), spoil_record())
        await store.commit(ANA, change(event("a", name="note")))
        with pytest.raises(Corrupt):
            await read_one(store, "a")
        assert not (await store.verify()).is_clean
        await store.repair()
        assert json.loads((await must_read(store, "a")).body) == BODIES[-1]

    @pytest.mark.parametrize(
        "spoilt",
        [
            {"body": SPOILT},
            {"version": 2},
            {"version": 1 << 40},
            {"chain": "0" * 40},
            {"body": b"[]", "version": 1, "chain": ""},
        ],
        ids=lambda spoilt: "+".join(spoilt),
    )
    async def test_record_proven_by_its_digest_is_put_back_as_it_was(
        self, store: AdminStore, spoilt: dict[str, Any]
    ) -> None:
        await write_history(store, BODIES)
        before = await must_read(store, "a")
        await damage(store, key("a"), spoil_record(**spoilt))
        assert await store.repair() == ["run a: rebuilt from its journal, proven by its digest"]
        after = await must_read(store, "a")
        assert replace(after, body=b"") == replace(before, body=b"")
        assert json.loads(after.body) == BODIES[-1]
        await goes_on(store)

    async def test_record_that_nothing_proves_is_rebuilt_and_fenced(self, store: AdminStore) -> None:
        """Its other fields may be damaged too: whoever held it is refused, by its version and by its epoch."""
        await write_history(store, BODIES)
        sent = put("a", expect=30, body=codec.encode(BODIES[0]), owner="me", raise_epoch=True)
        await store.commit(ANA, change(sent, event("a", delta=journal.delta(BODIES[-1], BODIES[0], 31))))
        await damage(store, key("a"), spoil_record(body=SPOILT, status="odd"))
        (words,) = await store.repair()
        assert words.startswith("run a: rebuilt from its journal at version 31, as version 32; owner cleared and epoch")
        assert "check status and due by hand" in words
        record = await must_read(store, "a")
        assert (record.version, record.owner, record.epoch) == (32, "", 2)
        assert json.loads(record.body) == BODIES[0]
        with pytest.raises(Conflict):
            await store.commit(ANA, change(put("a", expect=31)))
        with pytest.raises(Fenced):
            await store.commit(ANA, change(put("a", expect=32, epoch=1)))
        assert (await store.events(ANA, record=key("a")))[-1].name == "repaired"
        await goes_on(store)

    @pytest.mark.parametrize(
        ("planted", "lost"),
        [
            (spoil_event(12), 12),
            (lose_events(12), 11),
            (lose_events(1), 0),
            (lose_events(*range(1, 13)), 0),
            (spoil_event(30), 30),
            (lose_events(30), 0),
            (lose_events(30, 29, 12), 11),
            (lose_events(*range(1, 31)), 0),
        ],
        ids=["spoilt", "missing", "first", "start", "last spoilt", "last missing", "several", "all"],
    )
    async def test_damaged_journal_is_cut_and_its_record_stays(
        self, store: AdminStore, planted: Damage, lost: int
    ) -> None:
        """What is sound behind the damage stays, and the chain goes on from an anchor."""
        await write_history(store, BODIES, every=7)
        await write_history(store, BODIES[:3], "b")
        before = await must_read(store, "a")
        await damage(store, key("a"), planted)
        left = [(row.position, row.digest) for row in (await held(store, key("a"))).events][lost:]
        (words,) = await store.repair()
        assert "the record is as it was, proven by its digest" in words
        assert (f"{lost} of {lost + len(left)} rows went" if lost else "its journal lacks rows") in words
        after = await must_read(store, "a")
        assert (after.body, after.version, after.owner, after.epoch) == (before.body, 30, "", 0)
        *kept, told = await store.events(ANA, record=key("a"))
        assert [(row.position, row.digest) for row in kept] == left
        assert (told.name, told.version, journal.rebuild([told])) == ("repaired", 30, BODIES[-1])
        assert (await store.events(ANA, stream=("acme", "ana")))[-1] == told, "and whoever follows the user hears of it"
        assert await store.repair() == []
        await goes_on(store)
        await goes_on(store, "b")

    @pytest.mark.parametrize(
        "planted",
        [lose_events(*range(1, 31)), spoil_event(30), lose_events(*range(15, 31))],
        ids=["no journal", "damaged at its end", "does not reach"],
    )
    async def test_where_the_journal_does_not_reach_the_last_good_copy_does(
        self, store: AdminStore, planted: Damage
    ) -> None:
        await write_history(store, BODIES[:20])
        await keep_copy(store, "older")
        before = BODIES[19]
        for version, body in enumerate(BODIES[20:25], 21):
            await step(store, version, body, before=before)
            before = body
        due = 1795932085.6444519  # finer than what a store keeps of a time: its digest is over what it keeps
        sent = put("a", expect=25, body=codec.encode(BODIES[25]), due=due, queue="q", labels={"x": "y"})
        owned = replace(sent, status="open", owner="me", raise_epoch=True)
        await store.commit(ANA, change(owned, event("a", delta=journal.delta(before, BODIES[25], 26))))
        await keep_copy(store, "good", due=due)
        before = BODIES[25]
        for version, body in enumerate(BODIES[26:], 27):
            await step(store, version, body, before=before)
            before = body
        await damage(store, key("a"), planted, spoil_record(body=SPOILT, status="odd", due=99.0, labels={}))
        (words,) = await store.repair()
        assert words.startswith("run a: rebuilt from its copy 'good' at version 26, as version 31; owner cleared and")
        assert "what it decided after version 26 is lost" in words
        record = await must_read(store, "a")
        assert (record.version, record.owner, record.epoch) == (31, "", 2)
        assert (record.status, record.due, record.queue, dict(record.labels)) == ("open", moment(due), "q", {"x": "y"})
        assert json.loads(record.body) == BODIES[25]
        assert (await store.verify()).is_clean
        await goes_on(store)

    async def test_damaged_copy_is_passed_over_and_removed(self, store: AdminStore) -> None:
        await write_history(store, BODIES[:2])
        await keep_copy(store, "older")
        await step(store, 3, BODIES[2], before=BODIES[1])
        await keep_copy(store, "newer")
        await damage(store, copy_key("newer"), spoil_record(body=b'{"snapshot":{"n":66}}'))
        await damage(store, key("a"), lose_events(1, 2, 3), spoil_record(body=SPOILT, status="odd"))
        words = sorted(await store.repair())
        assert words[0] == "checkpoint a/newer: a damaged copy, which nothing can be rebuilt from: removed"
        assert words[1].startswith("run a: rebuilt from its copy 'older' at version 2, as version 4")
        assert json.loads((await must_read(store, "a")).body) == BODIES[1]
        assert await read_one(store, copy_key("newer")) is None
        assert await read_one(store, copy_key("older")) is not None
        assert (await store.verify()).is_clean

    async def test_copies_of_others_and_of_other_kinds_are_no_source(self, store: AdminStore) -> None:
        await store.commit(ANA, change(put("a", body=b'{"n":1}'), put("a/b", body=b'{"n":2}')))
        await keep_copy(store, "of a lock", kind="lock")
        await keep_copy(store, "c", id_="a/b", kind="lock")
        await store.commit(ANA, change(put(copy_key("no copy"), body=b'{"snapshot":3}')))
        await damage(store, key("a"), spoil_record())
        (words,) = await store.repair()
        assert words.startswith("run a: not repaired, neither its journal nor a copy tells its body; restore a backup")
        with pytest.raises(Corrupt, match="run a"):
            await store.read(ANA, [key("a")])

    async def test_deleted_record_that_is_damaged_goes_on_counting(self, store: AdminStore) -> None:
        await store.commit(ANA, change(put("a", raise_epoch=True), event("a"), put("b")))
        await store.commit(ANA, change(delete("a"), event("a"), delete("b")))
        await damage(store, key("a"), spoil_record(change_id="odd"))
        await damage(store, key("b"), spoil_record(change_id="odd"))
        first, second = await store.repair()
        assert first.startswith("run a: a deleted record, damaged")
        assert second.startswith("run b: a deleted record, damaged")
        assert await read_one(store, "a") is None
        assert (await store.verify()).is_clean
        again = await store.commit(ANA, change(put("a", raise_epoch=True), event("a"), put("b")))
        assert (again.versions, again.epochs) == ((4, 4), (3, 1))
        assert (await store.verify()).is_clean

    async def test_deletion_that_is_damage_is_undone(self, store: AdminStore) -> None:
        await store.commit(ANA, change(put("a", body=b'{"n":1}'), event("a"), put("b")))
        await store.commit(ANA, change(delete("b")))
        before = await must_read(store, "a")
        for at in (key("a"), key("b")):
            history = await held(store, at)
            assert history.row is not None
            await store.load([replace(history, row=history.row._replace(deleted=not history.row.deleted))])
        assert len(await store.repair()) == 2
        assert (await must_read(store, "a"), await read_one(store, "b")) == (before, None)
        assert (await store.verify()).is_clean

    async def test_damaged_journal_of_a_record_that_is_gone_is_cut(self, store: AdminStore) -> None:
        await write_history(store, BODIES[:4])
        history = await held(store, key("a"))
        await store.load([replace(history, row=None)])
        await damage(store, key("a"), spoil_event(2))
        (words,) = await store.repair()
        assert "run a: its journal is cut behind its damage, 2 of 4 rows went, and there is no record" in words
        assert [each.version for each in await store.events(ANA, record=key("a"))] == [3, 4]
        assert (await store.verify()).is_clean
        await damage(store, key("a"), spoil_event(3), spoil_event(4))
        await store.repair()
        found = await store.verify()
        assert (found.records, found.events, found.problems) == (0, 0, ())
        async with store.snapshot() as view:
            assert [each async for each in view.histories()] == []

    async def test_stream_that_lies_behind_its_numbers_goes_on_behind_them(self, store: AdminStore) -> None:
        """Rows that were loaded, and the streams' last numbers lost."""
        await write_history(store, BODIES[:3])
        history = await held(store, key("a"))
        moved = [replace(each, position=each.position._replace(seq=each.position.seq + 5)) for each in history.events]
        await store.load([_sealed(replace(history, events=moved))])
        assert [problem.where for problem in (await store.verify()).problems] == ["stream of acme/ana"]
        assert await store.repair() == ["stream of acme/ana: it goes on behind number 8"]
        assert (await store.verify()).is_clean
        await goes_on(store)
        assert [each.position.seq for each in await store.events(ANA, stream=("acme", "ana"))] == [6, 7, 8, 9]


def _sealed(history: History) -> History:
    """`history` with every digest and link as they should be."""
    events: list[Event] = []
    previous = history.anchor
    for each in history.events:
        linked = replace(each, previous=previous)
        events.append(replace(linked, digest=digest_of_event(linked)))
        previous = events[-1].digest
    assert history.row is not None
    assert history.row.record is not None
    record = replace(history.row.record, chain=previous)
    record = replace(record, digest=digest_of(record))
    return replace(history, events=events, row=history.row._replace(chain=previous, record=record))
