"""The store that fails on purpose does so, and says that it did."""

from __future__ import annotations

import asyncio
import random

import pytest

from holdfast.errors import CommitUnknown, HoldfastError, InvalidInput, Unavailable
from holdfast.store.contract.records import Claim, Query
from holdfast.store.memory import MemoryStore
from holdfast.store.writing.outcome import commit_surely
from holdfast.testing.conformance.samples import ANA, SYSTEM, change, event, key, must_read, put, read_one
from holdfast.testing.faulty_store import Fault, FaultyStore, When


async def test_refused_commit_did_not_happen() -> None:
    store = FaultyStore(MemoryStore(), script=[When("commit", 2, Fault.REFUSE), When("read", 1, Fault.REFUSE)])
    await store.commit(ANA, change(put("a")))
    with pytest.raises(Unavailable):
        await store.commit(ANA, change(put("b")))
    with pytest.raises(Unavailable):
        await read_one(store, "b")
    assert await read_one(store, "b") is None
    assert (store.unseen(), store.seen) == ([], {Fault.REFUSE: 2})


async def test_lost_answers_before_and_after() -> None:
    script = [When("commit", 1, Fault.LOSE_BEFORE), When("commit", 2, Fault.LOSE_AFTER)]
    store = FaultyStore(MemoryStore(), script=script)
    for id_ in ("a", "b"):
        with pytest.raises(CommitUnknown):
            await store.commit(ANA, change(put(id_)))
    assert await read_one(store, "a") is None
    assert (await must_read(store, "b")).version == 1


async def test_lost_claim_has_an_owner_all_the_same() -> None:
    store = FaultyStore(MemoryStore(), script=[When("claim", 1, Fault.LOSE_AFTER)])
    await store.commit(ANA, change(put("a")))
    with pytest.raises(CommitUnknown):
        await store.claim(SYSTEM, Claim(kind="run", owner="me", from_owners=("",)))
    assert (await must_read(store, "a")).owner == "me"


async def test_stale_answers_are_older_ones() -> None:
    stale = [When("read", 2, Fault.STALE), When("scan", 2, Fault.STALE), When("events", 2, Fault.STALE)]
    store = FaultyStore(MemoryStore(), script=stale)
    await store.commit(ANA, change(put("a"), event("a")))

    async def look() -> tuple[int, int, int]:
        (scanned,) = (await store.scan(ANA, Query(kind="run"))).records
        rows = await store.events(ANA, stream=("acme", "ana"))
        return (await must_read(store, "a")).version, scanned.version, len(rows)

    assert await look() == (1, 1, 1)
    await store.commit(ANA, change(put("a", expect=1), event("a")))
    assert await look() == (1, 1, 1)
    assert await look() == (2, 2, 2)
    assert store.unseen() == []


async def test_a_fault_that_did_not_come_to_pass_is_named() -> None:
    unseen = [When("commit", 3, Fault.REFUSE), When("read", 1, Fault.STALE)]
    store = FaultyStore(MemoryStore(), script=unseen)
    await store.commit(ANA, change(put("a")))
    await must_read(store, "a")
    assert store.unseen() == unseen


async def test_script_can_wait_for_one_kind_of_change() -> None:
    only = When("commit", 1, Fault.REFUSE, lambda each: bool(each.events))
    store = FaultyStore(MemoryStore(), script=[only])
    await store.commit(ANA, change(put("a")))
    with pytest.raises(Unavailable):
        await store.commit(ANA, change(put("b"), event("b")))


async def test_delay_waits_for_what_it_was_given() -> None:
    waited = []

    async def pause() -> None:
        waited.append(1)

    store = FaultyStore(MemoryStore(), script=[When("commit", 1, Fault.DELAY)], pause=pause)
    await store.commit(ANA, change(put("a")))
    assert waited == [1]
    assert repr(store).endswith("seen={delay: 1})")


async def test_chance_is_seeded_and_changes_committed_surely_survive_it() -> None:
    rates = {Fault.LOSE_BEFORE: 0.2, Fault.LOSE_AFTER: 0.2, Fault.STALE: 0.1}
    outcomes = []
    for _ in range(2):
        inner = MemoryStore()
        store = FaultyStore(inner, rates=rates, chance=random.Random(7))
        told: list[str] = []
        for number in range(200):
            try:
                answer = await commit_surely(
                    store, ANA, change(put("a", expect=number), event("a"), change_id=f"{number}"), attempts_max=50
                )
                told.append(f"{answer.versions}")
            except HoldfastError as error:
                told.append(f"{type(error).__name__}")
        outcomes.append(told)
        assert told == [f"({number + 1},)" for number in range(200)]
        assert len(await inner.events(ANA, stream=("acme", "ana"))) == 200
        assert min(store.seen[fault] for fault in (Fault.LOSE_BEFORE, Fault.LOSE_AFTER)) > 10
    assert outcomes[0] == outcomes[1]


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InvalidInput):
        FaultyStore(MemoryStore(), script=[When("read", 1, Fault.LOSE_AFTER)])
    with pytest.raises(InvalidInput):
        FaultyStore(MemoryStore(), rates={Fault.REFUSE: 0.5})


async def test_late_answer_comes_after_the_deed_and_is_lost_with_the_way() -> None:
    at_work = []

    async def pause() -> None:
        at_work.append(await read_one(inner, "a"))
        if len(at_work) == 2:
            store.fall_ill()

    inner = MemoryStore()
    store = FaultyStore(inner, script=[When("commit", 1, Fault.LATE), When("commit", 2, Fault.LATE)], pause=pause)
    assert (await store.commit(ANA, change(put("a")))).versions == (1,)
    with pytest.raises(CommitUnknown):
        await store.commit(ANA, change(put("a", expect=1)))
    assert [record and record.version for record in at_work] == [1, 2]
    assert store.unseen() == []


async def test_missed_wakeup_comes_with_the_next_and_a_repeated_one_hides_none() -> None:
    store = FaultyStore(MemoryStore(), script=[When("wait", 2, Fault.MISS), When("wait", 4, Fault.REPEAT)])
    tick = await store.wait(0)
    waiting = asyncio.ensure_future(store.wait(tick))
    await asyncio.sleep(0)
    await store.commit(ANA, change(put("a")))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    await store.commit(ANA, change(put("b")))
    tick = await waiting
    third = asyncio.ensure_future(store.wait(tick))
    await asyncio.sleep(0)
    await store.commit(ANA, change(put("c")))
    tick = await third
    repeated = await store.wait(tick)
    assert repeated == tick + 1
    last = asyncio.ensure_future(store.wait(repeated))
    await asyncio.sleep(0)
    assert not last.done()
    await store.commit(ANA, change(put("d")))
    assert await last > repeated
    assert store.unseen() == []


async def test_stale_looks_keep_the_promise_of_recent_reads() -> None:
    script = [When("read_recent", nth, Fault.STALE) for nth in (2, 3)]
    inner = MemoryStore()
    store = FaultyStore(inner, script=script)
    at = key("a")
    await inner.commit(ANA, change(put("a")))
    await store.read_recent(ANA, [at])
    await inner.commit(ANA, change(put("a", expect=1)))

    async def version(least: int) -> int:
        (record,) = await store.read_recent(ANA, [at], least_versions=[least])
        assert record is not None
        return record.version

    assert [await version(1), await version(2)] == [1, 2]
    await store.commit(ANA, change(put("a", expect=2)))
    assert await version(1) == 3
