"""Contract: a claim gives records to one owner, and only to one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.errors import Fenced
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Claim
from holdfast.testing.conformance.samples import (
    ANA,
    BOB,
    SYSTEM,
    Contract,
    OpenStore,
    StepClock,
    change,
    closing,
    delete,
    ids,
    key,
    must_read,
    put,
)


def claim(owner: str = "me", *, from_owners: tuple[str, ...] = ("",), **fields: Any) -> Claim:
    return Claim(kind="run", owner=owner, from_owners=from_owners, **fields)


class ClaimingContract(Contract):
    async def test_claim_takes_what_nobody_owns(self, store: Store) -> None:
        await store.commit(ANA, change(put("a", body=b"1"), put("b", owner="you", raise_epoch=True)))
        before = await must_read(store, "a")
        (taken,) = await store.claim(SYSTEM, claim())
        assert (taken.key, taken.owner, taken.epoch, taken.version, taken.body) == (key("a"), "me", 1, 1, b"1")
        assert (taken.written_at, taken.change_id) == (before.written_at, before.change_id)
        assert await must_read(store, "a") == taken
        assert await store.claim(SYSTEM, claim()) == []

    async def test_claim_from_the_dead(self, store: Store) -> None:
        await store.commit(ANA, change(put("a", owner="dead"), put("b", owner="alive"), put("c", owner="dead too")))
        taken = await store.claim(SYSTEM, claim(from_owners=("dead", "dead too")))
        assert ids(taken) == ["a", "c"]
        assert (await must_read(store, "b")).owner == "alive"

    async def test_claimed_record_refuses_its_former_owner(self, store: Store) -> None:
        await store.commit(ANA, change(put("a", owner="old", raise_epoch=True)))
        await store.claim(SYSTEM, claim(from_owners=("old",)))
        with pytest.raises(Fenced):
            await store.commit(ANA, change(put("a", expect=1, epoch=1)))
        await store.commit(ANA, change(put("a", expect=1, epoch=2)))

    async def test_claim_for_nobody_gives_back(self, store: Store) -> None:
        await store.commit(ANA, change(put("a", owner="me", raise_epoch=True), put("b", owner="you")))
        (given,) = await store.claim(SYSTEM, claim("", from_owners=("me",)))
        assert (given.key, given.owner, given.epoch, given.version) == (key("a"), "", 2, 1)
        assert (await must_read(store, "b")).owner == "you"
        with pytest.raises(Fenced):
            await store.commit(ANA, change(put("a", expect=1, epoch=1)))
        assert ids(await store.claim(SYSTEM, claim("next"))) == ["a"]

    async def test_what_is_given_back_can_get_another_place_in_line(self, store: Store) -> None:
        """First of all that wait, though it had no due, and is last after the same with a late one."""
        await store.commit(ANA, change(put("mine", body=b"1", owner="me", raise_epoch=True), put("early", due=5)))
        (given,) = await store.claim(SYSTEM, claim("", from_owners=("me",), due_after=1.5))
        assert (given.due, given.owner, given.epoch, given.version, given.body) == (1.5, "", 2, 1, b"1")
        assert await must_read(store, "mine") == given
        assert ids(await store.claim(SYSTEM, claim("next"))) == ["mine", "early"]
        await store.claim(SYSTEM, claim("", from_owners=("next",), ids=("mine",), due_after=9))
        assert ids(await store.claim(SYSTEM, claim("", from_owners=("next",)))) == ["early"]
        assert ids(await store.claim(SYSTEM, claim("last", due_until=8))) == ["early"]
        assert ids(await store.claim(SYSTEM, claim("last", due_until=9))) == ["mine"]

    async def test_claim_filters(self, store: Store) -> None:
        await store.commit(
            ANA,
            change(
                put("a", status="open", queue="q1", due=10),
                put("b", status="open", queue="q2", due=20),
                put("c", status="done", queue="q1"),
                put(key("d", kind="memo"), status="open", queue="q1", due=10),
            ),
        )
        assert ids(await store.claim(SYSTEM, claim(statuses=("open",), queues=("q1",), due_until=10))) == ["a"]
        assert ids(await store.claim(SYSTEM, claim(ids=("c", "b", "d"), due_until=20))) == ["b"]
        assert ids(await store.claim(SYSTEM, claim(ids=("x",)))) == []
        assert ids(await store.claim(SYSTEM, claim(statuses=("done",)))) == ["c"]

    async def test_claim_takes_the_earliest_due_then_what_waits_longest(self, open_store: OpenStore) -> None:
        clock = StepClock()
        async with closing(open_store(clock)) as store:
            for id_, due in (("late", 30), ("none2", None), ("early", 10), ("none1", None), ("tie", 10)):
                await store.commit(ANA, change(put(id_, due=due)))
                clock.advance(1)
            first = await store.claim(SYSTEM, claim(limit=2))
            rest = await store.claim(SYSTEM, claim())
        assert ids(first) == ["early", "tie"]
        assert ids(rest) == ["late", "none2", "none1"]

    async def test_claims_that_race_share_nothing(self, store: Store) -> None:
        for number in range(50):
            await store.commit(ANA, change(put(f"a{number:02}")))
        taken = await asyncio.gather(*(store.claim(SYSTEM, claim(f"p{number}", limit=8)) for number in range(10)))
        everything = [id_ for part in taken for id_ in ids(part)]
        assert sorted(everything) == [f"a{number:02}" for number in range(50)]
        for number, part in enumerate(taken):
            assert {record.owner for record in part} <= {f"p{number}"}

    async def test_claim_stays_inside_its_scope(self, store: Store) -> None:
        await store.commit(ANA, change(put("a")))
        await store.commit(BOB, change(put(key("b", user="bob"))))
        assert ids(await store.claim(BOB, claim())) == ["b"]

    async def test_deleted_records_cannot_be_claimed(self, store: Store) -> None:
        await store.commit(ANA, change(put("a")))
        await store.commit(ANA, change(delete("a")))
        assert await store.claim(SYSTEM, claim()) == []
