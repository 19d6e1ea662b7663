"""Several objects changed together: all or none, on what was read, with one's own writes read back."""

from __future__ import annotations

import asyncio
import random

import pytest

from holdfast import Conflict, InvalidInput, NotFound, Rejected, StateManager, StateTransaction, UserExecutionContext
from tests.state.conftest import OpenState

Context = UserExecutionContext
ACCOUNTS = [f"account/{number}" for number in range(6)]


async def test_all_of_it_is_true_or_none(state: StateManager, ana: Context) -> None:
    async with state.transaction(ana, why="together", by="agent") as t:
        await t.set("a", 1)
        await t.set("b", 2)
        assert await state.count(ana) == 0, "nobody sees it before it is committed"
    assert t.versions == {"a": 1, "b": 1}
    assert [(each.path, each.value, each.who, each.why) async for each in state.scan(ana)] == [
        ("a", 1, "agent", "together"), ("b", 2, "agent", "together"),
    ]  # fmt: skip


async def test_it_reads_what_it_wrote(state: StateManager, ana: Context) -> None:
    await state.set(ana, "a", 1)
    async with state.transaction(ana) as t:
        await t.set("a", 2)
        assert (await t.get("a")).value == 2
        await t.update("a", lambda value: value + 1)
        await t.set("b", (await t.get("a")).value)
        await t.delete("a")
        assert await t.find("a") is None
        with pytest.raises(NotFound):
            await t.update("a", lambda value: value)
    assert await state.find(ana, "a") is None
    assert (await state.get(ana, "b")).value == 3


async def test_an_error_or_a_rollback_leaves_nothing(state: StateManager, ana: Context) -> None:
    async def broken(t: StateTransaction) -> None:
        await t.set("a", 1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await state.transact(ana, broken)
    async with state.transaction(ana) as t:
        await t.set("a", 1)
        t.rollback()
    with pytest.raises(Rejected, match="over"):
        await t.set("a", 2)
    assert await state.count(ana) == 0


async def test_a_conflict_names_every_object_that_others_changed(state: StateManager, ana: Context) -> None:
    for path in ("a", "b", "c", "d"):
        await state.set(ana, path, 1)
    t = state.transaction(ana)
    await t.get("a")  # read only: what was decided on it does not hold any more
    await t.set("b", 2)
    await t.set("c", 2)
    assert await t.find("new") is None
    for path in ("a", "c", "d", "new"):
        await state.set(ana, path, "other")
    with pytest.raises(Conflict, match=r"a \(expected version 1, found 2\), c .*, new ") as caught:
        await t.commit()
    assert caught.value.paths == ("a", "c", "new")
    assert (await state.get(ana, "b")).value == 1
    assert (await state.get(ana, "c")).value == "other"


async def test_what_was_only_read_must_still_be_so(state: StateManager, ana: Context) -> None:
    await state.set(ana, "a", 1)
    t = state.transaction(ana)
    await t.get("a")
    await state.set(ana, "a", 2)
    with pytest.raises(Conflict):
        await t.commit()


async def test_work_is_called_again_until_it_holds(state: StateManager, ana: Context) -> None:
    await state.set(ana, "a", 0)
    calls = 0

    async def work(t: StateTransaction) -> int:
        nonlocal calls
        calls += 1
        value: int = (await t.get("a")).value
        if calls == 1:
            await state.set(ana, "a", 10)
        await t.set("a", value + 1)
        return value + 1

    assert await state.transact(ana, work) == 11
    assert calls == 2
    calls = 0
    with pytest.raises(Conflict):
        await state.transact(ana, work, attempts_max=1)


async def test_a_conflict_of_the_works_own_making_is_not_tried_again(state: StateManager, ana: Context) -> None:
    calls = 0

    async def work(t: StateTransaction) -> None:
        nonlocal calls
        calls += 1
        await t.set("a", 1, expect=7)

    with pytest.raises(Conflict, match="expected version 7"):
        await state.transact(ana, work)
    assert calls == 1


@pytest.mark.parametrize("writers", [15, 60])
async def test_money_moved_by_many_at_once_is_neither_made_nor_lost(
    open_state: OpenState, ana: Context, writers: int
) -> None:
    """Through two managers, as in two processes; who looks meanwhile in a transaction sees the whole sum."""
    managers = [await open_state(), await open_state()]
    await managers[0].set_many(ana, dict.fromkeys(ACCOUNTS, 100))
    chance = random.Random(7)
    ways = [tuple(chance.sample(ACCOUNTS, 2)) for _ in range(writers)]

    def moving(source: str, target: str) -> object:
        async def work(t: StateTransaction) -> None:
            await t.update(source, lambda value: value - 10)
            await t.update(target, lambda value: value + 10)

        return work

    async def look(t: StateTransaction) -> int:
        return sum([(await t.get(path)).value for path in ACCOUNTS])

    moves = (managers[n % 2].transact(ana, moving(*way)) for n, way in enumerate(ways))  # type: ignore[arg-type,var-annotated]
    sums = await asyncio.gather(*moves, *(managers[0].transact(ana, look) for _ in range(3)))
    assert sums[-3:] == [600] * 3
    found = await managers[1].get_many(ana, ACCOUNTS)
    assert sum(each.value for each in found.values()) == 600
    assert sum(each.version - 1 for each in found.values()) == 2 * writers


async def test_a_transaction_inside_of_the_work_does_not_wait_for_itself(state: StateManager, ana: Context) -> None:
    """Who lost a race stands in line; the line ends after a second for whoever is inside of it."""
    await state.set(ana, "a", 0)
    calls = 0

    async def inner(t: StateTransaction) -> None:
        await t.update("a", lambda value: value + 1)

    async def outer(t: StateTransaction) -> None:
        nonlocal calls
        calls += 1
        await t.get("a")
        if calls <= 2:
            await state.transact(ana, inner)
        await t.set("b", calls)

    await state.transact(ana, outer)
    assert ((await state.get(ana, "a")).value, (await state.get(ana, "b")).value) == (2, 3)


async def test_several_are_set_at_once(state: StateManager, ana: Context) -> None:
    versions = await state.set_many(ana, {f"net/{number}": number for number in range(500)}, why="load")
    assert set(versions.values()) == {1}
    assert await state.count(ana, "net") == 500
    with pytest.raises(InvalidInput, match="at most 500"):
        await state.set_many(ana, {f"net/{number}": number for number in range(501)})


async def test_own_and_shared_objects_change_together(state: StateManager, ana: Context, bob: Context) -> None:
    await state.set(ana, "pool", 3, shared=True)

    async def take(t: StateTransaction) -> None:
        await t.update("pool", lambda value: value - 1, shared=True)
        await t.set("mine", 1)

    await asyncio.gather(state.transact(ana, take), state.transact(bob, take))
    assert (await state.get(bob, "pool", shared=True)).value == 1
    assert await state.count(ana) == await state.count(bob) == 1
