"""The lab itself: time passes on command only, settled means settled, and the same seed gives the same run."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from holdfast import InvalidInput, RunContext, Workflow
from holdfast.store.contract.records import Change
from holdfast.store.memory import MemoryStore
from holdfast.testing import Fault, FaultyStore, Lab, VirtualClock, When
from tests.engine.journal import moves


def nap(seconds: float) -> Workflow:
    workflow = Workflow("nap")

    @workflow.state("asleep", start=True, to="awake")
    async def asleep(ctx: RunContext) -> None:
        await ctx.sleep(seconds)

    workflow.final("awake")
    return workflow


async def test_time_stands_still_until_it_is_skipped() -> None:
    async with Lab(nap(3600)) as lab:
        run = await lab.start("nap")
        await lab.skip("59m")
        assert (await run.refresh()).state == "asleep"
        assert len(lab.handlers) == 1
        await lab.skip("1m")
        assert (await run.refresh()).state == "awake"
        assert lab.handlers == []


async def test_skip_stops_at_every_due_time_on_the_way() -> None:
    woke: list[float] = []
    workflow = Workflow("steps")

    @workflow.state("naps", start=True, to="end")
    async def naps(ctx: RunContext) -> None:
        for _ in range(3):
            await ctx.sleep(60)
            woke.append(ctx.now_s())

    workflow.final("end")
    async with Lab(workflow) as lab:
        began = lab.clock.time_s()
        await lab.start("steps")
        await lab.skip("1h")
        assert [at - began for at in woke] == [60, 120, 180]
        assert lab.clock.time_s() - began == 3600


async def test_the_same_seed_gives_the_same_run() -> None:
    async def journal(seed: int) -> list[tuple[str, float, bytes]]:
        workflow = Workflow("shaky")

        @workflow.state("try", start=True, to="end")
        async def attempt(ctx: RunContext) -> None:
            if ctx.attempt < 4:
                raise ConnectionError("not yet")

        workflow.final("end")
        async with Lab(workflow, seed=seed) as lab:
            run = await lab.start("shaky")
            await lab.skip("1h")
            return [(event.key.id, event.at, event.body) for event in await run.history()]

    assert await journal(1) == await journal(1)
    assert await journal(1) != await journal(2)


async def test_a_sync_function_in_a_thread_counts_as_moving() -> None:
    threads: list[int] = []

    def slow() -> int:
        time.sleep(0.7)  # longer than the lab's loop stands still for it
        threads.append(threading.get_ident())
        return 7

    workflow = Workflow("slow")

    @workflow.state("work", start=True, to="end")
    async def work(ctx: RunContext) -> None:
        ctx.data["seven"] = await ctx.step("slow", slow)

    workflow.final("end")
    async with Lab(workflow) as lab:
        run = await lab.start("slow")
        await lab.settle()
        assert (await run.refresh()).data == {"seven": 7}
        assert threads != [threading.get_ident()]


async def test_a_handler_that_waits_for_nothing_known_is_named() -> None:
    forever = asyncio.Event()
    workflow = Workflow("stuck")

    @workflow.state("work", start=True, to="end")
    async def work(ctx: RunContext) -> None:
        await forever.wait()

    workflow.final("end")
    async with Lab(workflow, patience_s=0.05) as lab:
        await lab.start("stuck")
        with pytest.raises(TimeoutError, match=r"still moving: handler run:.*/work#1.*lab\.gate"):
            await lab.settle()


async def test_who_waits_at_a_gate_is_settled() -> None:
    workflow = Workflow("gated")

    @workflow.state("work", start=True, to="end")
    async def work(ctx: RunContext) -> None:
        await gate.wait()

    workflow.final("end")
    async with Lab(workflow) as lab:
        gate = lab.gate()
        run = await lab.start("gated")
        await lab.skip("1h")
        assert (gate.waiting, (await run.refresh()).state) == (1, "work")
        gate.open()
        await lab.settle()
        assert (gate.passed, (await run.refresh()).state) == (1, "end")


async def test_a_store_that_is_slow_by_the_virtual_clock_is_waited_for_by_skipping() -> None:
    clock = VirtualClock()

    async def pause() -> None:
        await clock.sleep(30)

    def wakes(change: Change) -> bool:
        return any(b"awake" in event.body for event in change.events)

    store = FaultyStore(MemoryStore(clock=clock), script=[When("commit", 1, Fault.DELAY, wakes)], pause=pause)
    async with Lab(nap(1), clock=clock, store=store) as lab:
        run = await lab.start("nap")
        await lab.skip("2s")
        assert (await run.refresh()).state == "asleep"
        await lab.skip("30s")
        assert (await run.refresh()).state == "awake"
        assert store.unseen() == []


async def test_a_run_goes_on_after_a_restart() -> None:
    async with Lab(nap(60)) as lab:
        await lab.start("nap", id="T-1")
        await lab.skip("30s")
        await lab.restart()
        await lab.skip("59s")
        run = await lab.client.get("T-1")
        assert run.state == "asleep", "a handler that was cut short begins anew"
        await lab.skip("1s")
        assert await moves(run) == ["-start-> asleep", "asleep -asleep.done-> awake"]


async def test_a_store_of_ones_own_needs_its_clock() -> None:
    with pytest.raises(InvalidInput, match="needs clock="):
        Lab(nap(1), store=MemoryStore())
