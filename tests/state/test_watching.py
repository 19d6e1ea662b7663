"""Watching: every change from a place on, in order, once; a slow watcher costs a place and no memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from holdfast import InvalidInput, StateChange, StateManager, UserExecutionContext
from tests.state.conftest import OpenState

Context = UserExecutionContext
LIMIT_S = 30.0


async def some(changes: AsyncIterator[StateChange], count: int) -> list[StateChange]:
    found: list[StateChange] = []
    async with asyncio.timeout(LIMIT_S):
        async for change in changes:
            found.append(change)
            if len(found) == count:
                break
    return found


async def test_each_change_is_heard_in_order_and_once(state: StateManager, ana: Context) -> None:
    await state.set(ana, "net/a", 0)
    start = await state.position(ana)
    await state.set(ana, "net/a", 1, why="first", by="agent")
    await asyncio.gather(*(state.update(ana, "net/a", lambda value: value + 1) for _ in range(20)))
    await state.set(ana, "netting", 1)
    await state.delete(ana, "net/a")
    heard = await some(state.watch(ana, "net", after=start), 22)
    assert [each.version for each in heard] == list(range(2, 24))
    assert [heard[0].what, heard[0].who, heard[0].why, heard[-1].what] == ["set", "agent", "first", "deleted"]
    again = await some(state.watch(ana, "net", after=heard[9].position), 12)
    assert again == heard[10:], "a watch that was away goes on where it was"
    assert (await some(state.watch(ana, "netting", after=start), 1))[0].path == "netting"


async def test_who_waits_is_woken_by_another_process(open_state: OpenState, ana: Context) -> None:
    one, other = await open_state(), await open_state()
    start = await one.position(ana)
    watching = asyncio.gather(some(one.watch(ana, after=start), 2))
    await other.set(ana, "a", 1)
    await other.set(ana, "b", 1)
    assert [each.path for each in (await watching)[0]] == ["a", "b"]


async def test_a_watch_without_a_place_begins_now(state: StateManager, ana: Context) -> None:
    for number in range(30):
        await state.set(ana, f"old/{number}", 1)
    watching = asyncio.gather(some(state.watch(ana), 1))
    number = 0
    while not watching.done():  # it begins when it is first asked
        number += 1
        await state.set(ana, f"new/{number}", 1)
    assert (await watching)[0][0].path.startswith("new/")
    with pytest.raises(InvalidInput, match="position"):
        await some(state.watch(ana, after="yesterday"), 1)


async def test_the_position_is_the_end_of_a_stream_of_any_length(state: StateManager, ana: Context) -> None:
    assert await state.position(ana) == "0:0"
    last = ""
    for number in range(1, 18):
        await state.set(ana, "a", number)
        position = await state.position(ana)
        assert position != last
        last = position
        assert position.endswith(f":{number}")


async def test_a_place_that_is_not_kept_any_more_is_told_of(state: StateManager, ana: Context) -> None:
    await state.set(ana, "a", 0)
    start = await state.position(ana)
    for number in range(60):
        await state.set(ana, "a", number)
    await state.store.trim(before_s=state.store.now_s() + 10)  # type: ignore[attr-defined]
    heard = await some(state.watch(ana, after=start), 2)
    assert [each.what for each in heard] == ["gap", "set"]
    assert "not kept" in heard[0].why
