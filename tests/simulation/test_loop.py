"""The simulated loop: a drawn order that repeats, time that jumps, jobs inline, and death without last words."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from holdfast.clock import seeded_randomness
from holdfast.tasks import Supervisor
from holdfast.testing.simulation.loop import Livelock, Process, SimulatedLoop, current_process, simulated_loop


def run(work: Callable[[SimulatedLoop], Awaitable[list[str]]], *, seed: int = 0) -> list[str]:
    loop = simulated_loop(seeded_randomness(seed))

    async def play() -> list[str]:
        return await work(loop)

    try:
        return loop.run_until_complete(play())
    finally:
        loop.close()


def started(process: Process, work: Awaitable[None]) -> None:
    """Begin `work` as a task of `process`."""
    context = contextvars.Context()
    context.run(current_process.set, process)

    async def play() -> None:
        await work

    tasks = Supervisor(process.name, on_failure=lambda name, error: None)
    context.run(tasks.start, play(), name="work")


async def race(loop: SimulatedLoop) -> list[str]:
    """Six tasks that do two things each."""
    told: list[str] = []

    async def act(name: str) -> None:
        told.append(f"{name}1")
        await asyncio.sleep(0)
        told.append(f"{name}2")

    async with asyncio.TaskGroup() as group:
        for name in "abcdef":
            group.create_task(act(name))
    return told


def test_order_is_drawn_and_a_seed_repeats_it() -> None:
    orders = [run(race, seed=seed) for seed in range(10)]
    assert len({tuple(order) for order in orders}) == 10
    assert orders == [run(race, seed=seed) for seed in range(10)]
    assert all(order.index(f"{name}1") < order.index(f"{name}2") for order in orders for name in "abcdef")


@pytest.mark.parametrize("seed", range(5))
def test_callbacks_of_one_process_keep_their_order(seed: int) -> None:
    async def work(loop: SimulatedLoop) -> list[str]:
        told: list[str] = []
        for name in "abcdef":
            loop.call_soon(told.append, name)
        await asyncio.sleep(1)
        return told

    assert run(work, seed=seed) == list("abcdef")


def test_a_month_passes_in_a_moment() -> None:
    async def work(loop: SimulatedLoop) -> list[str]:
        began = loop.time()
        await asyncio.sleep(30 * 86400)
        return [f"{loop.time() - began:.0f}"]

    assert run(work) == ["2592000"]


def test_jobs_run_in_the_loop_and_later() -> None:
    async def work(loop: SimulatedLoop) -> list[str]:
        told = []

        def job(word: str) -> int:
            told.append(word)
            return threading.get_ident()

        asked = loop.run_in_executor(None, job, "done")
        told.append("asked")
        assert await asked == threading.get_ident()
        failing = loop.run_in_executor(None, int, "x")
        with pytest.raises(ValueError, match="invalid literal"):
            await failing
        return told

    assert run(work) == ["asked", "done"]


def test_who_loses_power_has_no_last_words() -> None:
    async def work(loop: SimulatedLoop) -> list[str]:
        told: list[str] = []

        async def live() -> None:
            try:
                loop.call_later(2, told.append, "a timer of the dead")
                await asyncio.sleep(1)
                told.append("survived")
            except asyncio.CancelledError:
                told.append("cancelled")
            finally:
                told.append("finally")

        process = Process("machine")
        started(process, live())
        await asyncio.sleep(0.5)
        assert loop.cut_power(process) == ["machine:work"]
        assert loop.tasks_of(process) == []
        await asyncio.sleep(5)
        return list(told)

    assert run(work) == []


def test_who_lost_power_inside_of_a_block_is_buried_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a generator waits for is let go together with it, when the loop is closed and takes nothing more."""
    complaints: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)

    async def work(loop: SimulatedLoop) -> list[str]:
        async def wait() -> None:
            try:
                await loop.create_future()
            finally:
                loop.call_soon(lambda: None)

        @asynccontextmanager
        async def block() -> AsyncIterator[None]:
            await wait()
            yield

        async def use() -> None:
            async with block():
                pass

        process = Process("machine")
        started(process, use())
        await asyncio.sleep(1)
        return loop.cut_power(process)

    assert run(work) == ["machine:work"]
    gc.collect()
    assert complaints == []


def test_who_stalls_goes_on_late_and_in_order() -> None:
    async def work(loop: SimulatedLoop) -> list[str]:
        told: list[str] = []

        async def tick() -> None:
            for _ in range(3):
                await asyncio.sleep(1)
                told.append(f"{loop.time():.0f}")

        process = Process("machine")
        started(process, tick())
        await asyncio.sleep(1.5)
        process.stalled_until_s = 7.0
        await asyncio.sleep(10)
        return told

    assert run(work) == ["1", "7", "8"]


def test_what_lets_no_time_pass_is_told() -> None:
    async def work(loop: SimulatedLoop) -> list[str]:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    with pytest.raises(Livelock, match="no time passed"):
        run(work)


def test_who_waits_for_nothing_is_told() -> None:
    async def work(loop: SimulatedLoop) -> list[str]:
        await asyncio.Event().wait()
        return []

    with pytest.raises(RuntimeError, match="nothing will bring about"):
        run(work)
