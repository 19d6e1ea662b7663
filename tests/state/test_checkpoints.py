"""Checkpoints: one moment of a whole network, while it changes; and back to it."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from holdfast import NotFound, StateCheckpoint, StateManager, UserExecutionContext
from holdfast.state.names import COPY
from holdfast.store.contract.records import Query, Scope
from holdfast.store.open import open_store
from holdfast.store.upkeep.copy import copy
from tests.state.conftest import OpenState

Context = UserExecutionContext


async def values(state: StateManager, context: Context, prefix: str = "net") -> dict[str, Any]:
    return {each.path: each.value async for each in state.scan(context, prefix)}


async def copies(state: StateManager) -> int:
    page = await state.store.scan(Scope.system(), Query(kind=COPY), limit=10_000)
    return len(page.records)


async def test_back_to_how_it_was(state: StateManager, ana: Context, bob: Context) -> None:
    await state.set_many(ana, {"net/a": 1, "net/b": [1], "net/gone": 1, "other": 1})
    await state.set(bob, "net/a", "bob's")
    kept = await state.checkpoint(ana, "before", prefix="net", why="repair", by="agent")
    assert (kept.objects, kept.who, kept.why, kept.prefix) == (3, "agent", "repair", "net")
    await state.set(ana, "net/a", 2)
    await state.delete(ana, "net/gone")
    await state.set(ana, "net/new", 1)
    await state.set(ana, "other", 2)
    assert sorted(await state.restore(ana, "before", why="it was wrong")) == ["net/a", "net/gone", "net/new"]
    assert await values(state, ana) == {"net/a": 1, "net/b": [1], "net/gone": 1}
    restored = await state.get(ana, "net/gone")
    assert (restored.version, restored.why) == (3, "it was wrong"), "versions go on"
    assert [change.what async for change in state.history(ana, "net/new")] == ["set", "restored"]
    assert ((await state.get(ana, "other")).value, (await state.get(bob, "net/a")).value) == (2, "bob's")
    assert await state.restore(ana, "before") == [], "nothing is left to do"


async def test_who_was_fresh_is_fresh_again(state: StateManager, ana: Context) -> None:
    await state.set(ana, "net/a", 1)
    await state.set(ana, "net/b", 1, depends_on=["net/a"])
    await state.set(ana, "net/c", 1, depends_on=["net/b"])
    await state.set(ana, "net/a", 2)  # b and c are stale, and stay it
    await state.set(ana, "net/d", 1, depends_on=["net/a"])
    await state.checkpoint(ana, "kept")
    await state.set(ana, "net/a", 3)
    await state.set(ana, "net/c", 1, depends_on=[])
    await state.clear(ana, "net")
    await state.restore(ana, "kept")
    stale = {each.path: each.stale async for each in state.scan(ana, "net")}
    assert stale == {"net/a": (), "net/b": ("net/a",), "net/c": ("net/b",), "net/d": ()}
    assert await state.dependents(ana, "net/a") == ["net/b", "net/d", "net/c"]


async def test_it_is_one_moment_although_everything_changes(open_state: OpenState, ana: Context) -> None:
    """Each transaction raises all counters by one, so at any moment they are equal; objects come and go meanwhile."""
    state, other = await open_state(), await open_state()
    paths = [f"net/{number:03}" for number in range(40)]
    await state.set_many(ana, dict.fromkeys(paths, 0))
    stop = asyncio.Event()

    async def work() -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            async with other.transaction(ana) as t:
                for path in paths:
                    await t.update(path, lambda value: value + 1)
                await t.set(f"net/{number % 7}", number)
                if await t.find(f"net/{(number + 3) % 7}") is not None:
                    await t.delete(f"net/{(number + 3) % 7}")

    working = asyncio.gather(work())
    try:
        for round_ in range(4):
            await state.checkpoint(ana, f"c{round_}", prefix="net")
    finally:
        stop.set()
        await working
    reached = (await state.get(ana, paths[0])).value
    seen = []
    for round_ in range(4):
        await state.restore(ana, f"c{round_}")
        found = await values(state, ana)
        counters = {found[path] for path in paths}
        assert len(counters) == 1, "half of a transaction"
        (count,) = counters
        seen.append(count)
        assert {found[path] for path in found if path not in paths} <= set(range(max(0, count - 7), count))
        assert max(found[path] for path in found if path not in paths) == count - 1 if count else True
    assert seen == sorted(seen)
    assert seen[-1] <= reached


async def test_one_of_the_same_name_takes_the_place_of_the_other(state: StateManager, ana: Context) -> None:
    for number in range(3):
        await state.set(ana, "net/a", number)
        await state.checkpoint(ana, "last")
    assert await copies(state) == 1
    await state.set(ana, "net/a", 9)
    await state.restore(ana, "last")
    assert (await state.get(ana, "net/a")).value == 2
    kept = await state.checkpoints(ana)
    assert [(type(each), each.name, each.objects) for each in kept] == [(StateCheckpoint, "last", 1)]
    await state.forget_checkpoint(ana, "last")
    assert (await copies(state), await state.checkpoints(ana)) == (0, [])
    for call in (state.restore, state.forget_checkpoint):
        with pytest.raises(NotFound, match="last"):
            await call(ana, "last")


async def nobody_works() -> None:
    """Nobody does, in a test."""


class Ending(Exception):
    pass


async def test_one_that_was_never_finished_does_not_count(
    state: StateManager, ana: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a crash in the middle; the next one of that name removes what it left."""
    await state.set_many(ana, {f"net/{number}": number for number in range(5)})
    await state.checkpoint(ana, "kept")
    commits = 0
    commit = state.store.commit

    async def dying(*arguments: Any) -> Any:
        nonlocal commits
        commits += 1
        if commits == 3:  # the beginning, the copies, the end
            raise Ending
        return await commit(*arguments)

    for name in ("kept", "new"):
        commits = 0
        with monkeypatch.context() as patch:
            patch.setattr(state.store, "commit", dying)
            with pytest.raises(Ending):
                await state.checkpoint(ana, name)
    assert [each.name for each in await state.checkpoints(ana)] == ["kept"]
    await state.set(ana, "net/0", 9)
    await state.restore(ana, "kept")
    assert (await state.get(ana, "net/0")).value == 0
    for name in ("kept", "new"):
        await state.checkpoint(ana, name)
    assert await copies(state) == 10


async def test_what_is_shared_has_checkpoints_of_its_own(state: StateManager, ana: Context, bob: Context) -> None:
    await state.set(ana, "net/a", 1, shared=True)
    await state.checkpoint(ana, "kept", shared=True)
    assert await state.checkpoints(ana) == []
    await state.set(bob, "net/a", 2, shared=True)
    assert await state.restore(bob, "kept", shared=True) == ["net/a"]
    assert (await state.get(ana, "net/a", shared=True)).value == 1


async def test_state_moves_to_another_store_whole(open_state: OpenState, ana: Context, tmp_path: Any) -> None:
    """Versions, history, dependencies and checkpoints go along."""
    state = await open_state()
    await state.set(ana, "a", 1)
    await state.set(ana, "b", 1, depends_on=["a"], why="because")
    await state.checkpoint(ana, "kept")
    await asyncio.gather(*(state.update(ana, "a", lambda value: value + 1) for _ in range(15)))
    target = open_store(f"sqlite:///{tmp_path / 'moved.db'}")
    try:
        await copy(state.store, target, attempt="move", check=nobody_works)  # type: ignore[arg-type]
        assert (await target.verify()).is_clean
        async with StateManager(target, sweep_every=None) as moved:
            assert (await moved.get(ana, "a")).version == 16
            assert ((await moved.get(ana, "b")).stale, (await moved.get(ana, "b")).why) == (("a",), "because")
            assert (await moved.get(ana, "a", version=7)).value == 7
            assert sorted(await moved.restore(ana, "kept")) == ["a", "b"]
            assert (await moved.get(ana, "b")).stale == ()
    finally:
        await target.close()
