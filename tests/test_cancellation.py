"""Who is cancelled hears of it for certain, and closes what he opened all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from holdfast.cancellation import heeding_cancellation, through_all


async def lose(result: object) -> object:
    """As some drivers do: a result instead of the cancellation."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        if isinstance(result, Exception):
            raise result from None
    return result


async def ask(result: object) -> object:
    with heeding_cancellation():
        return await lose(result)


@pytest.mark.parametrize("result", ["answer", ConnectionError("lost")], ids=["answer", "error"])
async def test_a_cancellation_that_a_driver_loses_is_heeded(result: object) -> None:
    task = asyncio.ensure_future(ask(result))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_time_limit_whose_cancellation_a_driver_loses_is_kept() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await ask("answer")


async def test_a_time_limit_within_is_no_cancellation() -> None:
    with heeding_cancellation(), pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await asyncio.Event().wait()


class Stages:
    """Three that say when they ran; `odd` is what the second one does."""

    def __init__(self, odd: Callable[[], Awaitable[object]]) -> None:
        self.odd = odd
        self.ran: list[str] = []

    async def first(self) -> None:
        self.ran.append("first")

    async def second(self) -> None:
        await self.odd()
        self.ran.append("second")

    async def third(self) -> None:
        await asyncio.sleep(0)
        self.ran.append("third")

    async def run(self) -> None:
        await through_all(self.first, self.second, self.third)


async def test_all_stages_run_in_order() -> None:
    stages = Stages(lambda: asyncio.sleep(0))
    await stages.run()
    assert stages.ran == ["first", "second", "third"]


async def test_a_stage_that_fails_keeps_no_other_from_running() -> None:
    async def fail() -> None:
        raise ConnectionError("away")

    stages = Stages(fail)
    with pytest.raises(ConnectionError):
        await stages.run()
    assert stages.ran == ["first", "third"]


@pytest.mark.parametrize("result", ["ends well", ConnectionError("cut off")], ids=["ends-well", "fails"])
async def test_who_is_cancelled_in_a_stage_runs_the_others_and_is_told_then(result: object) -> None:
    stages = Stages(lambda: lose(result))
    task = asyncio.ensure_future(stages.run())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert stages.ran == (["first", "second", "third"] if result == "ends well" else ["first", "third"])
