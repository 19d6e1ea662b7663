"""Contract: whoever waits hears of commits; stores serve several loops and threads; lost answers are found."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib

import pytest

from holdfast.errors import CommitUnknown
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Require
from holdfast.store.writing.outcome import commit_surely, resolve
from holdfast.testing.conformance.samples import (
    ANA,
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
from holdfast.testing.faulty_store import Fault, FaultyStore, When

PATIENCE_S = 10.0


class WaitingContract(Contract):
    async def test_first_wait_returns_at_once(self, store: Store) -> None:
        async with asyncio.timeout(PATIENCE_S):
            assert await store.wait(0) > 0

    async def test_wait_hears_of_a_commit_before_and_during(self, store: Store) -> None:
        since = await store.wait(0)
        await store.commit(ANA, change(put("a")))
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            heard = await store.wait(since)
            assert heard > since
            waiting = [group.create_task(store.wait(heard)) for _ in range(5)]
            await asyncio.sleep(0)
            await store.commit(ANA, change(put("b")))
        assert all(task.result() > heard for task in waiting)

    async def test_wait_can_be_cancelled(self, store: Store) -> None:
        since = await store.wait(0)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(store.wait(since))
            await asyncio.sleep(0)
            task.cancel()
        assert task.cancelled()

    async def test_store_serves_several_loops_and_threads(self, store: Store) -> None:
        def work(name: str) -> int:
            async def commits() -> int:
                done = await asyncio.gather(
                    *(
                        store.commit(ANA, change(put(f"{name}-{number}"), event(f"{name}-{number}")))
                        for number in range(20)
                    )
                )
                return len([each for each in done if each.versions == (1,)])

            return asyncio.run(commits())

        loop = asyncio.get_running_loop()
        with concurrent.futures.ThreadPoolExecutor(3) as threads:
            counts = await asyncio.gather(*(loop.run_in_executor(threads, work, name) for name in "xyz"))
        assert counts == [20, 20, 20]
        rows = await store.events(ANA, stream=("acme", "ana"))
        assert [row.position.seq for row in rows] == list(range(1, 61))

    async def test_loop_that_closes_while_it_waits_leaves_a_durable_change(self, store: Store) -> None:
        def give_up() -> None:
            async def one_turn() -> None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0):  # the change is queued, its answer not awaited
                        await store.commit(ANA, change(put("a")))

            asyncio.run(one_turn())

        await asyncio.get_running_loop().run_in_executor(None, give_up)
        await store.commit(ANA, change(put("b")))  # the same sender's next change comes after it
        assert (await must_read(store, "a")).version == 1

    @pytest.mark.parametrize("fault", [Fault.LOSE_BEFORE, Fault.LOSE_AFTER])
    @pytest.mark.parametrize("others", [0, 1, 2])
    async def test_lost_answer_is_looked_up(self, store: Store, fault: Fault, others: int) -> None:
        """No duplicate and no false conflict, also where others have written the record since."""
        faulty = FaultyStore(store, script=[When("commit", 1, fault)])
        sent = change(put("a", raise_epoch=True, owner="me"), event("a"))
        with pytest.raises(CommitUnknown):
            await faulty.commit(ANA, sent)
        assert faulty.unseen() == []
        if fault is Fault.LOSE_AFTER:
            for number in range(others):
                await store.commit(ANA, change(put("a", expect=1 + number), event("a")))
            done = await resolve(faulty, ANA, sent)
            assert done is not None
            assert (done.change_id, done.versions) == (sent.change_id, (1,))
            assert done.position == (await store.events(ANA, record=key("a")))[0].position
        else:
            assert await resolve(faulty, ANA, sent) is None

    @pytest.mark.parametrize("fault", [Fault.LOSE_BEFORE, Fault.LOSE_AFTER])
    async def test_commit_surely_commits_once(self, store: Store, fault: Fault) -> None:
        faulty = FaultyStore(store, script=[When("commit", 1, fault), When("commit", 3, fault)])
        first = await commit_surely(faulty, ANA, change(put("a"), event("a")))
        memo = change(put(key("v1/m", kind="memo")), Require(key=key("a"), version=1))
        second = await commit_surely(faulty, ANA, memo)
        assert (first.versions, second.versions) == ((1,), (1,))
        gone = await commit_surely(faulty, ANA, change(delete("a", expect=1), removal("v1/")))
        assert gone.versions == (0,)
        assert faulty.seen[fault] == 2
        assert len(await store.events(ANA, record=key("a"))) == 1
        assert await read_one(store, "a") is None

    async def test_outcome_that_no_trace_tells_stays_unknown(self, store: Store) -> None:
        await store.commit(ANA, change(put("a")))
        sent = change(put("a", expect=1))
        for number in (1, 2, 3):
            await store.commit(ANA, change(put("a", expect=number)))
        with pytest.raises(CommitUnknown, match="no trace tells"):
            await resolve(store, ANA, sent)
