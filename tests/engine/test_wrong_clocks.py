"""A process whose clock is wrong keeps its appointments by the store's time."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.tasks import Supervisor
from holdfast.testing import VirtualClock
from holdfast.testing.virtual_clock import START_S
from holdfast.workflow.alarm import Alarm


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
