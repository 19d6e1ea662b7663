"""Leases: renewed through a store that fails, told of in time when they cannot be, and waited for without haste."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from holdfast import Engine, Fenced, Rejected, Unavailable, Workflow
from holdfast.clock import seeded_randomness
from holdfast.locks import LOCK, lock_key
from holdfast.store.contract.records import Change, Scope
from holdfast.store.memory import MemoryStore
from holdfast.testing import Gate, Lab, VirtualClock
from holdfast.testing.faulty_store import Fault, FaultyStore, When
from holdfast.workflow.process.ownership import Ownership
from tests.engine.labs import OpenLab

RENEWAL = 2
"""Of the commits of a lock that is free: the first takes it, the next renews it."""


def of_lock(change: Change) -> bool:
    return any(write.key.kind == LOCK for write in change.writes)


@asynccontextmanager
async def faulty_lab(*script: When) -> AsyncIterator[tuple[Lab, FaultyStore, Gate]]:
    """A lab on a store with faults; a delayed call waits at the gate."""
    clock = VirtualClock()
    gate = Gate(clock)
    inner = MemoryStore(clock=clock)
    store = FaultyStore(inner, script=script, pause=gate.wait)
    async with Lab(store=store, clock=clock) as lab:
        yield lab, store, gate
    await inner.close()


@pytest.mark.parametrize("fault", [Fault.LOSE_BEFORE, Fault.LOSE_AFTER, Fault.REFUSE])
async def test_a_renewal_that_failed_is_tried_again(fault: Fault) -> None:
    lost = When("commit", RENEWAL, fault, of_lock)
    async with faulty_lab(lost) as (lab, store, _), lab.engine.lock("repository", "r", ttl_s=3) as lease:
        await lab.skip("10s")
        assert store.unseen() == []
        lease.check()
        with pytest.raises(Unavailable, match="waited 0 s"):
            async with lab.engine.lock("repository", "r", wait_max_s=0):
                raise AssertionError("two hold one lock")


async def test_a_holder_that_could_not_renew_in_time_is_told() -> None:
    script = [When("commit", RENEWAL + again, Fault.LOSE_BEFORE, of_lock) for again in range(2)]
    async with faulty_lab(*script) as (lab, store, _), lab.engine.lock("repository", "r", ttl_s=3) as lease:
        await lab.skip("2.9s")
        lease.check()
        await lab.skip("0.1s")
        assert store.unseen() == []
        with pytest.raises(Fenced, match=r"lock repository/r: the lease with token [0-9]+ was lost"):
            lease.check()


async def test_a_holder_is_told_while_its_renewal_hangs() -> None:
    hung = When("commit", RENEWAL, Fault.DELAY, of_lock)
    async with faulty_lab(hung) as (lab, store, gate), lab.engine.lock("repository", "r", ttl_s=3) as lease:
        await lab.skip("3s")
        assert store.unseen() == []
        assert lease.lost.is_set()
        gate.open()


async def test_who_waits_for_a_lease_does_not_keep_the_store_busy(open_lab: OpenLab) -> None:
    lab = await open_lab()

    async def enter() -> None:
        async with lab.engine.lock("repository", "r", ttl_s=30):
            return

    async with lab.engine.lock("repository", "r", ttl_s=30):
        waiters = [lab.engine.inside.runtime.tasks.start(enter(), name=f"waiter {number}") for number in range(2)]
        await lab.settle()
        before = await writes(lab)
        await lab.skip("60s")
        assert await writes(lab) - before <= 3 * 6, "each of the three writes once in 10 s"
        assert not any(waiter.done() for waiter in waiters)
    for waiter in waiters:
        await waiter


async def writes(lab: Lab) -> int:
    """How often the lock was written."""
    (record,) = await lab.store.read(Scope.system(), [lock_key("main", "repository", "r")])
    return 0 if record is None else record.version


async def test_of_two_processes_with_one_id_the_second_is_refused(tmp_path: Path) -> None:
    """As after the clone of a machine: on one host by the file that the first holds, elsewhere by its lease."""
    wf = Workflow("twins", data=dict)
    wf.wait("review", start=True, on={"approve": "done"})
    wf.final("done")
    url, clock = f"sqlite:///{tmp_path}/runs.db", VirtualClock()
    async with Engine(url, wf, clock=clock, randomness=seeded_randomness(7)) as first:
        with pytest.raises(Unavailable, match=r"held by another process of this host; .* start this one anew"):
            async with Engine(url, wf, clock=clock, randomness=seeded_randomness(7)):
                pytest.fail("it opened")
        elsewhere = Ownership(first.store, clock, seeded_randomness(7))
        elsewhere._liveness = None
        assert elsewhere.process_id == first.inside.ownership.process_id
        with pytest.raises(Rejected, match="expected an id that no process has"):
            await elsewhere.begin()
