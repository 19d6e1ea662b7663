"""A scan in a transaction: what the transaction did is seen, what it found must stay, what it did not find need not."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest

from holdfast import Conflict, InvalidInput, NotFound, Rejected, StateManager, StateTransaction, UserExecutionContext
from holdfast.state import transaction
from holdfast.testing import VirtualClock
from tests.state.conftest import OpenState

Context = UserExecutionContext
PATHS = ("net", "net/a", "net/b", "net/b/deep", "net/c", "network", "other/a")
PREFIXES = ("", "net", "net/b", "other", "nothing")
PROGRAMS = 12
ACTIONS = 10


async def scanned(t: StateTransaction, prefix: str = "") -> list[tuple[str, object]]:
    return [(each.path, each.value) async for each in t.scan(prefix)]


async def test_what_it_did_is_seen(state: StateManager, ana: Context) -> None:
    await state.set_many(ana, {"net/a": 1, "net/b": 1, "net/c": 1, "other": 1})
    async with state.transaction(ana) as t:
        await t.set("net/b", 2)
        await t.delete("net/c")
        await t.set("net/0", 3)
        assert await scanned(t, "net") == [("net/0", 3), ("net/a", 1), ("net/b", 2)]
        await t.delete("net/0")
        await t.set("net/c", 4)
        assert await scanned(t, "net") == [("net/a", 1), ("net/b", 2), ("net/c", 4)]
    assert [(each.path, each.value) async for each in state.scan(ana, "net")] == [
        ("net/a", 1), ("net/b", 2), ("net/c", 4),
    ]  # fmt: skip


async def test_what_was_found_and_changed_is_named(state: StateManager, ana: Context) -> None:
    await state.set_many(ana, {f"net/{each}": 1 for each in "abcd"})
    t = state.transaction(ana)
    assert len(await scanned(t, "net")) == 4
    await t.set("sum", 4)
    await state.set(ana, "net/b", 2)
    await state.delete(ana, "net/d")
    with pytest.raises(Conflict, match=r"net/b \(expected version 1, found 2\), net/d .*found 0\)") as caught:
        await t.commit()
    assert caught.value.paths == ("net/b", "net/d")
    assert await state.find(ana, "sum") is None


async def test_what_was_found_by_who_only_looks_is_one_moment(state: StateManager, ana: Context) -> None:
    await state.set_many(ana, {"net/a": 1, "net/b": 1})
    t = state.transaction(ana)
    assert len(await scanned(t)) == 2
    await state.set(ana, "net/a", 2)
    with pytest.raises(Conflict, match="net/a"):
        await t.commit()


async def test_what_appears_stands_in_nobodys_way(state: StateManager, ana: Context) -> None:
    """Nothing is promised of what is not there: that would take a count that all who write beneath a prefix raise."""
    await state.set(ana, "net/a", 1)
    async with state.transaction(ana) as t:
        assert await scanned(t, "net") == [("net/a", 1)]
        await state.set(ana, "net/b", 1)
        await t.set("count", 1)
    assert (await state.get(ana, "count")).value == 1


async def test_who_needs_that_nothing_appears_has_all_change_one_object(state: StateManager, ana: Context) -> None:
    """As the page on shared state says."""
    await state.set(ana, "roster", 0)

    async def join(t: StateTransaction) -> None:
        await t.update("roster", lambda count: count + 1)
        await t.set("net/b", 1)

    t = state.transaction(ana)
    await t.get("roster")
    assert await scanned(t, "net") == []
    await t.set("count", 0)
    await state.transact(ana, join)
    with pytest.raises(Conflict) as caught:
        await t.commit()
    assert caught.value.paths == ("roster",)


async def test_what_was_read_before_stays_as_it_was_read(state: StateManager, ana: Context) -> None:
    await state.set_many(ana, {"net/a": 1, "net/b": 1})
    t = state.transaction(ana)
    await t.get("net/a")
    await t.get("net/b")
    assert await t.find("net/c") is None
    await state.set(ana, "net/a", 2)
    await state.delete(ana, "net/b")
    await state.set(ana, "net/c", 1)
    assert await scanned(t, "net") == [("net/a", 1), ("net/b", 1)]
    with pytest.raises(Conflict) as caught:
        await t.commit()
    assert caught.value.paths == ("net/a", "net/b", "net/c")


async def test_own_and_shared_objects_are_scanned_apart(state: StateManager, ana: Context, bob: Context) -> None:
    await state.set(ana, "net/mine", 1)
    await state.set(bob, "net/his", 1)
    await state.set(ana, "net/ours", 1, shared=True)
    async with state.transaction(ana) as t:
        assert await scanned(t, "net") == [("net/mine", 1)]
        assert [each.path async for each in t.scan("net", int, shared=True)] == ["net/ours"]


async def test_what_is_over_its_time_is_not_there(open_state: OpenState, ana: Context, clock: VirtualClock) -> None:
    state = await open_state(clock=clock)
    await state.set(ana, "net/a", 1, ttl="1m")
    await state.set(ana, "net/b", 1)
    clock.advance_to(clock.time_s() + 61)
    async with state.transaction(ana) as t:
        assert await scanned(t, "net") == [("net/b", 1)]
        await state.sweep(ana)
        await t.set("net/c", 1)


async def test_one_that_is_over_and_one_of_too_many_are_refused(
    state: StateManager, ana: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    await state.set_many(ana, {f"net/{number}": number for number in range(4)})
    monkeypatch.setattr(transaction, "SCANNED_MAX", 3)
    t = state.transaction(ana)
    with pytest.raises(InvalidInput, match="at most 3 objects beneath 'net/'"):
        await scanned(t, "net")
    t.rollback()
    with pytest.raises(Rejected, match="over"):
        await scanned(t)


class Thing(NamedTuple):
    value: int
    version: int


class Model:
    """What a transaction sees and comes to, in plain dicts: the world, what was read of it, what was drafted."""

    def __init__(self) -> None:
        self.world: dict[str, Thing] = {}
        self.last: dict[str, int] = {}
        self.begin()

    def begin(self) -> None:
        self.read: dict[str, Thing | None] = {}
        self.drafts: dict[str, int | None] = {}

    def put(self, path: str, value: int | None) -> None:
        """What is in the world from now on; None is nothing."""
        if value is None and self.world.pop(path, None) is None:
            return
        self.last[path] = self.last.get(path, 0) + 1
        if value is not None:
            self.world[path] = Thing(value, self.last[path])

    def seen(self, path: str) -> int | None:
        if path in self.drafts:
            return self.drafts[path]
        there = self.read.get(path)
        return None if there is None else there.value

    def scan(self, prefix: str) -> list[tuple[str, object]]:
        beneath = [path for path in sorted(PATHS) if path.startswith(f"{prefix}/" if prefix else "")]
        self.read = {path: self.world[path] for path in beneath if path in self.world} | self.read
        return [(path, self.seen(path)) for path in beneath if self.seen(path) is not None]

    def touch(self, path: str) -> int | None:
        self.read.setdefault(path, self.world.get(path))
        return self.seen(path)

    def moved(self) -> tuple[str, ...]:
        return tuple(path for path in sorted(self.read) if self.read[path] != self.world.get(path))


@pytest.mark.parametrize("seed", range(PROGRAMS))
async def test_drawn_programs_see_and_come_to_what_the_model_says(
    open_state: OpenState, ana: Context, seed: int
) -> None:
    """Transactions that scan, set and delete, while somebody else does so through another manager."""
    chance, model = random.Random(seed), Model()
    mine, other = await open_state(), await open_state()
    for number in range(3):
        model.begin()
        t = mine.transaction(ana)
        for _ in range(chance.randrange(ACTIONS)):
            path, value = chance.choice(PATHS), chance.randrange(100)
            match chance.choice(["scan", "scan", "set", "delete", "others set", "others delete"]):
                case "scan":
                    prefix = chance.choice(PREFIXES)
                    assert await scanned(t, prefix) == model.scan(prefix)
                case "set":
                    await t.set(path, value)
                    model.touch(path)
                    model.drafts[path] = value
                case "delete" if model.touch(path) is None:
                    with pytest.raises(NotFound):
                        await t.delete(path)
                case "delete":
                    await t.delete(path)
                    model.drafts[path] = None
                case "others set":
                    await other.set(ana, path, value)
                    model.put(path, value)
                case _ if path in model.world:
                    await other.delete(ana, path)
                    model.put(path, None)
        if moved := model.moved():
            with pytest.raises(Conflict) as caught:
                await t.commit()
            assert caught.value.paths == moved, f"transaction {number}"
        else:
            await t.commit()
            for path, value in model.drafts.items():
                model.put(path, value)
        there = [(each.path, each.value, each.version) async for each in other.scan(ana)]
        assert there == [(path, *model.world[path]) for path in sorted(model.world)]
