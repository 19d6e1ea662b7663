"""The alarm: calls back in time, and keeps nothing of what was cancelled."""

from __future__ import annotations

import asyncio

from holdfast.tasks import Supervisor
from holdfast.testing import Lab, VirtualClock
from holdfast.workflow.model.workflow import Workflow
from holdfast.workflow.process.alarm import HEAP_MIN, Alarm
from tests.engine.labs import nothing


async def test_cancelled_appointments_are_cleared_out_and_the_others_kept() -> None:
    clock, rung = VirtualClock(), list[int]()
    failures: list[str] = []
    tasks = Supervisor("test", on_failure=lambda name, error: failures.append(name))
    alarm = Alarm(clock, tasks, now_s=clock.time_s)
    kept = [alarm.at(clock.time_s() + 10 + number, lambda number=number: rung.append(number)) for number in range(3)]
    for number in range(1000):
        alarm.at(clock.time_s() + 1000 + number, lambda: rung.append(-1)).cancel()
    twice = alarm.at(clock.time_s() + 5, lambda: rung.append(-2))
    twice.cancel()
    twice.cancel()
    assert len(alarm) == 3
    assert len(alarm._heap) <= len(kept) + HEAP_MIN + 1
    for _ in range(4):
        await asyncio.sleep(0)
        clock.advance_to(clock.time_s() + 5)
        for _ in range(5):
            await asyncio.sleep(0)
    assert rung == [0, 1, 2]
    kept[0].cancel()
    assert len(alarm) == 0
    await tasks.stop()
    assert failures == []


async def test_runs_of_a_moment_leave_no_appointment_for_their_deadline() -> None:
    workflow = Workflow("flow", deadline="30d")
    workflow.add_state("work", nothing, start=True, to="end")
    workflow.final("end")
    async with Lab(workflow) as lab:
        for _ in range(3 * HEAP_MIN):
            run = await lab.start("flow")
            await lab.settle()
            assert (await run.refresh()).status == "done"
        assert len(lab.engine.inside.runtime.alarm._heap) <= HEAP_MIN + 1
