"""What was made from what: stale is known, a change goes down once, and no object depends on itself."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from holdfast import Conflict, InvalidInput, NotFound, StateManager, StateObject, UserExecutionContext
from tests.state.conftest import OpenState

Context = UserExecutionContext
Sources = Mapping[str, StateObject[Any]]


def total(_: StateObject[Any], sources: Sources) -> Any:
    return sum(each.value for each in sources.values())


async def layers(state: StateManager, context: Context, widths: list[int]) -> list[list[str]]:
    """A network in which each object is made from all of the layer above, set a layer at a time."""
    paths = [[f"net/{layer}/{number}" for number in range(width)] for layer, width in enumerate(widths)]
    await state.set_many(context, dict.fromkeys(paths[0], 1))
    for above, layer in itertools.pairwise(paths):
        async with state.transaction(context) as t:
            for path in layer:
                await t.set(path, len(above), depends_on=above)
    return paths


async def test_who_was_made_from_an_older_version_is_stale(state: StateManager, ana: Context) -> None:
    source = await state.set(ana, "logs", 1)
    await state.set(ana, "finding", 1, depends_on=[source])
    await state.set(ana, "plan", 1, depends_on=["finding"])
    assert (await state.get(ana, "plan")).uses == {"finding": 1}
    assert (await state.get(ana, "plan")).stale == ()
    await state.set(ana, "logs", 2)
    assert (await state.get(ana, "finding")).stale == ("logs",)
    assert (await state.get(ana, "plan")).stale == ("finding",), "what it was made from is stale itself"
    assert [each.path async for each in state.scan(ana) if each.stale] == ["finding", "plan"]
    await state.set(ana, "finding", 2, depends_on=["logs"])
    assert (await state.get(ana, "finding")).stale == ()
    assert (await state.get(ana, "plan")).stale == ("finding",)


async def test_what_was_read_is_what_counts(state: StateManager, ana: Context) -> None:
    """A value made from an object as it was read is stale if that has changed before it was written."""
    read = await state.set(ana, "logs", 1)
    await state.set(ana, "logs", 2)
    await state.set(ana, "finding", 1, depends_on=[read])
    assert (await state.get(ana, "finding")).stale == ("logs",)


async def test_a_source_that_is_gone_leaves_what_it_was_made_from_stale(state: StateManager, ana: Context) -> None:
    await state.set(ana, "logs", 1)
    await state.set(ana, "finding", 1, depends_on=["logs"])
    await state.delete(ana, "logs")
    assert (await state.get(ana, "finding")).stale == ("logs",)
    await state.set(ana, "logs", 1)
    assert (await state.get(ana, "finding")).stale == ("logs",), "another one of that name"


async def test_what_is_made_together_is_fresh(state: StateManager, ana: Context) -> None:
    """Also where the source was there before, so that its versions go on; and by whatever it is named."""
    await state.set(ana, "logs", 1)
    await state.delete(ana, "logs")
    async with state.transaction(ana) as t:
        await t.set("logs", 2)
        await t.set("finding", 1, depends_on=["logs"])
        await t.set("plan", 1, depends_on=[await t.get("logs"), await t.get("finding")])
    assert (await state.get(ana, "finding")).uses == {"logs": 3}
    assert [each.path async for each in state.scan(ana) if each.stale] == []


async def test_dependencies_stay_until_others_are_named(state: StateManager, ana: Context) -> None:
    for path in ("a", "b"):
        await state.set(ana, path, 1)
    await state.set(ana, "x", 1, depends_on=["a"])
    await state.set(ana, "x", 2)
    await state.update(ana, "x", lambda value: value)
    assert await state.dependents(ana, "a") == ["x"]
    await state.set(ana, "x", 3, depends_on=["b"])
    assert (await state.dependents(ana, "a"), await state.dependents(ana, "b")) == ([], ["x"])
    await state.set(ana, "x", 3, depends_on=[])
    assert await state.dependents(ana, "b") == []


async def test_what_depends_on_itself_is_refused_with_the_way(state: StateManager, ana: Context) -> None:
    await state.set(ana, "a", 1)
    await state.set(ana, "b", 1, depends_on=["a"])
    await state.set(ana, "c", 1, depends_on=["b"])
    with pytest.raises(InvalidInput, match="a -> c -> b -> a"):
        await state.set(ana, "a", 2, depends_on=["c"])
    with pytest.raises(InvalidInput, match="a -> a"):
        await state.set(ana, "a", 2, depends_on=["a"])
    with pytest.raises(NotFound, match="nowhere"):
        await state.set(ana, "a", 2, depends_on=["nowhere"])
    await state.delete(ana, "a")
    with pytest.raises(InvalidInput, match="a -> c -> b -> a"):
        await state.set(ana, "a", 2, depends_on=["c"])  # b still names it
    t = state.transaction(ana)
    await t.set("x", 1)
    await t.set("y", 1, depends_on=["x"])
    with pytest.raises(InvalidInput, match="x -> y -> x"):
        await t.set("x", 1, depends_on=["y"])
    t = state.transaction(ana)
    await t.set("x", 1)
    with pytest.raises(InvalidInput, match="x -> x"):
        await t.set("x", 1, depends_on=["x"])


async def test_two_who_would_close_a_cycle_together_do_not(open_state: OpenState, ana: Context) -> None:
    """Each alone is fine; one of them is refused, whichever comes second."""
    one, other = await open_state(), await open_state()
    for round_ in range(5):
        a, b = f"{round_}/a", f"{round_}/b"
        await one.set_many(ana, {a: 1, b: 1})
        results = await asyncio.gather(
            one.set(ana, a, 2, depends_on=[b]), other.set(ana, b, 2, depends_on=[a]), return_exceptions=True
        )
        assert sorted(type(each).__name__ for each in results) == ["InvalidInput", "StateObject"]


async def test_a_change_goes_down_once_and_in_order(state: StateManager, ana: Context) -> None:
    """5 layers of 25 objects, each made from all of the layer above."""
    paths = await layers(state, ana, [5] * 5)
    assert await state.dependents(ana, paths[0][0]) == [path for layer in paths[1:] for path in layer]
    await state.set(ana, paths[0][0], 2)
    made: Counter[str] = Counter()

    async def remake(dependent: StateObject[Any], sources: Sources) -> int:
        made[dependent.path] += 1
        assert not any(each.path in dependent.stale for each in sources.values())
        return int(total(dependent, sources))

    done = await state.propagate(ana, paths[0][0], remake, by="network")
    assert sorted(done) == sorted(made) == [path for layer in paths[1:] for path in layer]
    assert set(made.values()) == {1}
    assert [done.index(path) // 5 for path in done] == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5
    assert [each.path async for each in state.scan(ana) if each.stale] == []
    assert (await state.get(ana, paths[4][0])).value == 6 * 5**3
    assert await state.propagate(ana, paths[0][0], remake) == [], "all is fresh: nothing is made again"


async def test_a_diamond_is_made_once(state: StateManager, ana: Context) -> None:
    await state.set(ana, "top", 1)
    for path, above in (("left", ["top"]), ("right", ["top"]), ("bottom", ["left", "right"])):
        await state.set(ana, path, 1, depends_on=above)
    await state.set(ana, "top", 5)
    assert await state.propagate(ana, "top", total) == ["left", "right", "bottom"]
    assert (await state.get(ana, "bottom")).version == 2
    assert (await state.get(ana, "bottom")).value == 10


async def test_what_stopped_half_way_goes_on_where_it_was(state: StateManager, ana: Context) -> None:
    paths = await layers(state, ana, [1, 3, 1])
    await state.set(ana, paths[0][0], 2)

    def broken(dependent: StateObject[Any], sources: Sources) -> Any:
        if dependent.path == "net/1/1":
            raise ZeroDivisionError
        return total(dependent, sources)

    with pytest.raises(ZeroDivisionError):
        await state.propagate(ana, paths[0][0], broken)
    assert await state.propagate(ana, paths[0][0], total) == ["net/1/1", "net/2/0"]


async def test_one_that_is_changed_meanwhile_is_made_from_what_is_there(state: StateManager, ana: Context) -> None:
    await state.set(ana, "top", 1)
    await state.set(ana, "below", 1, depends_on=["top"])
    await state.set(ana, "top", 2)
    calls = 0

    async def remake(dependent: StateObject[Any], sources: Sources) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            await state.set(ana, "below", "by hand")
        return [dependent.value, sources["top"].value]

    await state.propagate(ana, "top", remake)
    assert (await state.get(ana, "below")).value == ["by hand", 2]


async def test_what_is_shared_is_depended_on_by_own_objects_and_not_the_other_way(
    state: StateManager, ana: Context, bob: Context
) -> None:
    await state.set(ana, "topology", 1, shared=True)
    for context in (ana, bob):
        await state.set(context, "view", 1, depends_on=["shared:topology"])
    await state.set(bob, "topology", 2, shared=True)
    assert (await state.get(ana, "view")).stale == ("shared:topology",)
    assert await state.dependents(ana, "topology", shared=True) == ["view"]
    assert await state.propagate(ana, "topology", total, shared=True) == ["view"]
    assert (await state.get(bob, "view")).stale == ("shared:topology",), "another user's is his own to make"
    mine = await state.get(ana, "view")
    with pytest.raises(InvalidInput, match="shared ones only"):
        await state.set(ana, "topology", 3, shared=True, depends_on=[mine])


async def test_many_declare_dependencies_at_once(state: StateManager, ana: Context) -> None:
    await state.set(ana, "top", 1)
    await asyncio.gather(*(state.set(ana, f"below/{number}", 1, depends_on=["top"]) for number in range(25)))
    assert len(await state.dependents(ana, "top")) == 25
    with pytest.raises(Conflict):
        await state.set(ana, "below/1", 2, depends_on=["top"], expect=9)
