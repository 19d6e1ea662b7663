"""A process whose clock is wrong keeps its appointments by the store's time."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import Workflow
from holdfast.store.contract.records import Claim, Record, Scope
from holdfast.store.memory import MemoryStore
from holdfast.tasks import Supervisor
from holdfast.testing import Lab, VirtualClock
from holdfast.testing.virtual_clock import START_S
from holdfast.workflow.process.alarm import Alarm


class CountsClaims(MemoryStore):
    """Counts the runs that are taken up."""

    claimed = 0

    async def claim(self, scope: Scope, claim: Claim) -> list[Record]:
        taken = await super().claim(scope, claim)
        self.claimed += len(taken) if claim.owner else 0
        return taken


@pytest.mark.parametrize("skew_s", [-20.0, 20.0])
async def test_an_appointment_rings_once_and_at_the_stores_time(skew_s: float) -> None:
    store_clock, own_clock, rung = VirtualClock(), VirtualClock(START_S + skew_s), list[float]()
    tasks = Supervisor("test", on_failure=lambda name, error: rung.append(-1))
    alarm = Alarm(own_clock, tasks, now_s=store_clock.time_s)
    alarm.at(store_clock.time_s() + 5, lambda: rung.append(store_clock.time_s()))
    for second in range(1, 11):
        store_clock.advance_to(START_S + second)
        own_clock.advance_to(START_S + skew_s + second)
        for _ in range(5):
            await asyncio.sleep(0)
    assert rung == [START_S + 5]
    await tasks.stop()


async def test_a_time_that_is_nearer_than_a_store_can_tell_has_come() -> None:
    """A store keeps times to the microsecond, a run keeps them as they are: one that was claimed for its time is not
    found to be early by half a microsecond, let go, and claimed again for as long as the clock stands there."""
    workflow = Workflow("rest")
    workflow.wait("rest", start=True, after={"10s": "end"})
    workflow.final("end")
    clock = VirtualClock(START_S + 4e-7)
    store = CountsClaims(clock=clock)
    async with Lab(workflow, clock=clock, store=store) as lab:
        run = await lab.start("rest")
        await lab.settle()
        (timer,) = run.run.timers
        clock.advance_to(START_S + 10)
        assert clock.time_s() < timer.due, "the store takes for due what is not"
        lab.engine.inside.recovery.nudge()
        await lab.settle()
        assert ((await run.refresh()).status, store.claimed) == ("done", 1)
    await store.close()
