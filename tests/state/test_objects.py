"""Objects: set, read, updated, merged, deleted, kept for a time; typed; with who, when and why of each version."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import msgspec
import pydantic
import pytest

from holdfast import (
    Conflict,
    DeadlineExceeded,
    FieldPolicy,
    InvalidInput,
    MergeConflict,
    NotFound,
    Rejected,
    StateManager,
    StateObject,
    StateStorage,
    Unavailable,
    UserExecutionContext,
    WrongContext,
)
from holdfast.state.names import scope_of
from holdfast.testing import VirtualClock
from holdfast.testing.servers import free_port
from tests.state.conftest import OpenState

Context = UserExecutionContext


@dataclass
class Plan:
    steps: list[str]
    confidence: float = 0.5


class Finding(msgspec.Struct):
    cause: str
    weight: int = 1


class Verdict(pydantic.BaseModel):
    is_guilty: bool
    reasons: list[str] = []


@pytest.mark.parametrize("value", [Plan(["look"]), Finding("disk"), Verdict(is_guilty=True, reasons=["a"])])
async def test_a_value_comes_back_as_what_it_was(state: StateManager, ana: Context, value: Any) -> None:
    set_ = await state.set(ana, "incident/plan", value, why="triage", by="agent-1")
    read = await state.get(ana, "incident/plan", type(value))
    assert read.value == set_.value == value
    assert (read.version, read.who, read.why, read.when) == (1, "agent-1", "triage", set_.when)
    assert (read.stale, read.shared, read.path) == ((), False, "incident/plan")


async def test_what_is_no_such_type_is_refused_and_named(state: StateManager, ana: Context) -> None:
    await state.set(ana, "plan", {"steps": "none"})
    for kind in (Plan, Finding, Verdict):
        with pytest.raises(InvalidInput, match="plan"):
            await state.get(ana, "plan", kind)


@pytest.mark.parametrize("value", [float("nan"), "\0", object(), "x" * 2_000_000, {1, 2}.__iter__()])
async def test_a_value_that_cannot_be_stored_is_refused(state: StateManager, ana: Context, value: Any) -> None:
    with pytest.raises(InvalidInput, match="plan"):
        await state.set(ana, "plan", value)
    assert await state.find(ana, "plan") is None


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "shared:a", "a\n", "x" * 301, "a/" * 30 + "a", None])
async def test_a_path_that_names_nothing_is_refused(state: StateManager, ana: Context, path: Any) -> None:
    with pytest.raises(InvalidInput, match="path"):
        await state.set(ana, path, 1)


async def test_what_is_not_there_is_not_found(state: StateManager, ana: Context) -> None:
    with pytest.raises(NotFound, match="plan"):
        await state.get(ana, "plan")
    with pytest.raises(NotFound, match="initial"):
        await state.update(ana, "plan", lambda value: value)
    with pytest.raises(NotFound, match="plan"):
        await state.delete(ana, "plan")
    assert await state.find(ana, "plan") is None
    assert await state.get_many(ana, ["plan", "other"]) == {}


async def test_only_the_version_that_is_expected_is_replaced(state: StateManager, ana: Context) -> None:
    first = await state.set(ana, "plan", 1, expect=0)
    await state.set(ana, "plan", 2, expect=first.version)
    for expect in (0, 1, 7):
        with pytest.raises(Conflict, match="plan: expected") as caught:
            await state.set(ana, "plan", 3, expect=expect)
        assert caught.value.seen == 2
    with pytest.raises(Conflict):
        await state.delete(ana, "plan", expect=1)
    assert (await state.get(ana, "plan")).value == 2


async def test_versions_go_on_over_a_deletion_and_the_past_stays(state: StateManager, ana: Context) -> None:
    for number in range(3):
        await state.set(ana, "plan", {"n": number}, why=f"why {number}")
    await state.delete(ana, "plan", why="done with it", by="tidy")
    made = await state.set(ana, "plan", {"n": 9})
    assert made.version == 5
    history = [change async for change in state.history(ana, "plan")]
    assert [(each.version, each.what, each.why) for each in history] == [
        (1, "set", "why 0"), (2, "set", "why 1"), (3, "set", "why 2"), (4, "deleted", "done with it"), (5, "set", ""),
    ]  # fmt: skip
    assert history[3].who == "tidy"
    assert (await state.get(ana, "plan", version=2)).value == {"n": 1}
    for version in (4, 6):
        with pytest.raises(NotFound, match=f"version {version}"):
            await state.get(ana, "plan", version=version)


async def test_each_of_many_versions_is_told_back(state: StateManager, ana: Context) -> None:
    """Over several snapshots of the journal."""

    async def add(number: int) -> None:
        await state.update(ana, "log", lambda log: [*log, number], initial=[])

    for some in range(0, 100, 10):
        await asyncio.gather(*(add(number) for number in range(some, some + 10)))
    for version in (1, 19, 20, 21, 55, 99, 100):
        assert (await state.get(ana, "log", version=version)).value == list(range(version))


@pytest.mark.parametrize("writers", [15, 150])
async def test_many_writers_of_one_object_lose_nothing_and_share_writes(
    state: StateManager, ana: Context, writers: int
) -> None:
    """Each has a version of his own and a row in the journal; the store has a write for each batch."""
    made = await asyncio.gather(
        *(
            state.update(ana, "count", lambda value: value + 1, initial=0, by=f"agent-{number}", why=f"{number}")
            for number in range(writers)
        )
    )
    assert sorted(each.version for each in made) == list(range(1, writers + 1))
    assert all(each.value == each.version for each in made)
    assert (await state.get(ana, "count")).value == writers
    told = [change async for change in state.history(ana, "count")]
    assert [each.version for each in told] == list(range(1, writers + 1))
    assert {each.who for each in told} == {f"agent-{number}" for number in range(writers)}
    rows = await state.store.events(scope_of(ana), stream=("acme", "ana"), limit=1000)
    assert len({row.change_id for row in rows}) <= 2, "one write for all that came while none or one was under way"


async def test_who_refuses_hurts_himself_alone(state: StateManager, ana: Context) -> None:
    def broken(_: Any) -> Any:
        raise ZeroDivisionError("mine")

    await state.set(ana, "count", 0)
    results = await asyncio.gather(
        state.update(ana, "count", lambda value: value + 1),
        state.update(ana, "count", broken),
        state.set(ana, "count", "x", expect=77),
        state.update(ana, "count", lambda _: object()),
        state.update(ana, "count", lambda value: value + 1),
        return_exceptions=True,
    )
    kinds = [type(each) for each in results]
    assert kinds == [StateObject, ZeroDivisionError, Conflict, InvalidInput, StateObject]
    assert (await state.get(ana, "count")).value == 2


async def test_processes_that_update_one_object_lose_nothing(open_state: OpenState, ana: Context) -> None:
    """Two managers, each with a store of its own where stores allow it."""
    managers = [await open_state(), await open_state()]

    async def work(manager: StateManager) -> None:
        for _ in range(20):
            await manager.update(ana, "count", lambda value: value + 1, initial=0)

    await asyncio.gather(*(work(manager) for manager in managers for _ in range(3)))
    assert (await managers[0].get(ana, "count")).value == 120


async def test_a_write_is_judged_by_what_another_process_left(open_state: OpenState, ana: Context) -> None:
    """What this process wrote last is kept in mind; a refusal is never about that alone."""
    one, other = await open_state(), await open_state()
    await one.set(ana, "plan", 1)
    await other.set(ana, "plan", 2, expect=1)
    assert (await one.set(ana, "plan", 3, expect=2)).version == 3
    await other.delete(ana, "plan")
    assert (await one.set(ana, "plan", 5, expect=0)).version == 5


async def test_fields_that_two_changed_apart_are_merged(open_state: OpenState, ana: Context) -> None:
    state = await open_state(policies={"incident": {"/tags": FieldPolicy.UNION, "/seen": FieldPolicy.LAST_WRITER}})
    base = await state.set(ana, "incident/1", {"tags": ["a"], "seen": 1, "cause": "", "owner": ""})
    await state.set(ana, "incident/1", {"tags": ["a", "b"], "seen": 2, "cause": "disk", "owner": ""}, by="x")
    ours = {"tags": ["a", "c"], "seen": 3, "cause": "", "owner": "me"}
    merged = await state.merge(ana, "incident/1", ours, base=base, by="y")
    assert merged.value == {"tags": ["a", "b", "c"], "seen": 3, "cause": "disk", "owner": "me"}
    assert merged.version == 3


async def test_fields_that_two_changed_differently_are_named(state: StateManager, ana: Context) -> None:
    base = await state.set(ana, "incident", {"cause": "", "tags": []})
    await state.set(ana, "incident", {"cause": "disk", "tags": []})
    with pytest.raises(MergeConflict, match="/cause") as caught:
        await state.merge(ana, "incident", {"cause": "network", "tags": []}, base=base)
    assert caught.value.paths == ("/cause",)
    assert (await state.get(ana, "incident")).version == 2, "nothing was written"


async def test_many_merge_into_one_object(state: StateManager, ana: Context) -> None:
    base = await state.set(ana, "incident", {})
    await asyncio.gather(*(state.merge(ana, "incident", {f"f{number}": 1}, base=base) for number in range(15)))
    assert (await state.get(ana, "incident")).value == {f"f{number}": 1 for number in range(15)}


async def test_objects_are_found_by_what_they_lie_beneath(state: StateManager, ana: Context) -> None:
    for path in ("net/a/1", "net/b", "network/c", "net", "other"):
        await state.set(ana, path, path)
    assert [each.path async for each in state.scan(ana, "net")] == ["net/a/1", "net/b"]
    assert await state.count(ana) == 5
    assert await state.clear(ana, "net") == 2
    assert [each.path async for each in state.scan(ana)] == ["net", "network/c", "other"]


async def test_what_is_over_its_time_is_gone_at_once_and_removed_later(
    open_state: OpenState, ana: Context, clock: VirtualClock
) -> None:
    state = await open_state(clock=clock)
    await state.set(ana, "short", 1, ttl="10s")
    await state.set(ana, "long", 1, ttl=100)
    await state.set(ana, "lifted", 1, ttl="10s")
    await state.set(ana, "lifted", 2, ttl=math.inf)
    await state.update(ana, "short", lambda value: value + 1)
    assert (await state.get(ana, "short")).expires_at is not None, "an update changes nothing about it"
    await advance(state, clock, 50)
    assert [each.path async for each in state.scan(ana)] == ["lifted", "long"]
    assert await state.find(ana, "short") is None
    assert await state.count(ana) == 2
    assert await state.sweep(ana) == 1
    assert await state.sweep(ana) == 0
    assert [change.what async for change in state.history(ana, "short")] == ["set", "updated", "expired"]
    assert (await state.set(ana, "short", 3, expect=0)).version == 4
    assert (await state.get(ana, "short")).expires_at is None


async def advance(state: StateManager, clock: VirtualClock, seconds: float) -> None:
    """Go on in time, and let a server's store hear of it."""
    clock.advance_to(clock.time_s() + seconds)
    await state.set(UserExecutionContext(user="watch", tenant="acme"), "tick", seconds)


async def test_the_time_of_a_context_is_over(open_state: OpenState, ana: Context, clock: VirtualClock) -> None:
    state = await open_state(clock=clock)
    late = dataclasses.replace(ana, deadline_s=state.store.now_s() - 1)
    with pytest.raises(DeadlineExceeded, match="ana"):
        await state.set(late, "plan", 1)


async def test_a_manager_that_is_not_open_says_so(ana: Context) -> None:
    manager = StateManager()
    with pytest.raises(Rejected, match="async with"):
        await manager.get(ana, "plan")
    async with manager:
        with pytest.raises(Rejected, match="open already"):
            await manager.__aenter__()


async def test_anything_but_a_context_is_refused(state: StateManager) -> None:
    for wrong in ("ana", None, {"user": "ana"}):
        with pytest.raises(WrongContext, match="must be UserExecutionContext"):
            await state.get(wrong, "plan")  # type: ignore[call-overload]


class TestStorage:
    async def test_test_mode_is_memory_whatever_is_said(self, ana: Context) -> None:
        async with StateManager(StateStorage.POSTGRES, url="postgresql://nowhere/x", test_mode=True) as state:
            await state.set(ana, "plan", 1)
            assert state.store.capabilities.location == "memory:"

    async def test_a_storage_needs_its_url(self) -> None:
        for storage in (StateStorage.REDIS, StateStorage.SQLITE):
            with pytest.raises(InvalidInput, match="url"):
                await StateManager(storage).__aenter__()
        with pytest.raises(InvalidInput, match="sweep_every"):
            StateManager(sweep_every=0)

    async def test_without_redis_it_fails_unless_memory_will_do(self, ana: Context) -> None:
        url = f"redis://127.0.0.1:{free_port()}"
        async with StateManager(StateStorage.REDIS, url=url) as state:
            with pytest.raises(Unavailable):
                await state.get(ana, "plan")
        async with StateManager(url, or_memory=True) as state:
            await state.set(ana, "plan", 1)
            assert "goes on alone, in memory" in str(state.weakness())
        for elsewhere in ("sqlite:///state.db", "postgresql://host/db"):
            with pytest.raises(InvalidInput, match="fallback=memory"):
                await StateManager(elsewhere, or_memory=True).__aenter__()
        async with StateManager(or_memory=True) as state:
            await state.set(ana, "plan", 1)
            assert state.weakness() is None

    async def test_state_survives_the_process_that_made_it(self, tmp_path: Any, ana: Context) -> None:
        for number in (1, 2):
            async with StateManager(f"sqlite:///{tmp_path / 'state.db'}") as state:
                await state.update(ana, "plan", lambda value: value + 1, initial=0)
                assert (await state.get(ana, "plan")).value == number
