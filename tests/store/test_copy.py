"""A store copied into another is the same store: whatever either of them held, and wherever the copy stopped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast import Engine, Workflow, faults
from holdfast.errors import CommitUnknown, Conflict, Corrupt, InvalidInput, Rejected, Unavailable
from holdfast.store.contract.history import History, Stream
from holdfast.store.contract.protocol import OpenStore, history_order
from holdfast.store.contract.records import Key, Scope
from holdfast.store.memory import MemoryStore
from holdfast.store.sqlite.store import SqliteStore
from holdfast.store.upkeep.copy import (
    MARKER,
    PAGE_KEYS_MAX,
    Copied,
    Pair,
    Progress,
    copy,
    difference,
    paired,
    refuse_unfinished,
)
from holdfast.testing.conformance.equivalence import answer, commands
from holdfast.testing.conformance.samples import ANA, BOB, StepClock, change, delete, event, key, put
from tests.store.places import PAIRS, Places, handed_out

KEYS = 2 * PAGE_KEYS_MAX + 100
"""Enough for three pages, and by hundreds."""


async def nobody() -> None:
    """Nobody works on either store."""


async def copied(source: OpenStore, target: OpenStore, **options: Any) -> Copied:
    return await copy(source, target, **({"attempt": "one", "check": nobody} | options))


class Held(msgspec.Struct, frozen=True):
    """All that a store holds."""

    histories: list[History]
    streams: dict[Stream, int]
    incarnation: int


async def held(store: OpenStore) -> Held:
    async with store.snapshot() as view:
        found = [msgspec.structs.replace(each, events=tuple(each.events)) async for each in view.histories()]
        return Held(found, await view.streams(), view.incarnation)


@pytest.fixture
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Places]:
    """Fresh places of every kind."""
    with handed_out(request, tmp_path) as places:
        yield places


@contextlib.asynccontextmanager
async def two(pair: tuple[str, str], places: Places, clock: StepClock) -> AsyncIterator[tuple[OpenStore, OpenStore]]:
    """A source and a target of the two kinds."""
    async with contextlib.AsyncExitStack() as stack:
        opened = [places.open(kind, clock) for kind in pair]
        for store in opened:
            stack.push_async_callback(store.close)
        yield opened[0], opened[1]


async def fill(store: OpenStore, keys: int = KEYS) -> None:
    """So many memos, and a few records with all that a record can have: journals, deletes, owners, dues, users."""
    for start in range(0, keys, 100):
        await store.commit(ANA, change(*(put(key(f"m/{n:05}", kind="memo")) for n in range(start, start + 100))))
    await store.commit(ANA, change(put("a", due=5.5, status="open", labels={"x": "1"}), event("a"), event("a")))
    await store.commit(
        BOB, change(put(key("b", user="bob"), owner="me", raise_epoch=True), event(key("b", user="bob")))
    )
    await store.commit(ANA, change(put("gone", raise_epoch=True), event("gone")))
    await store.commit(ANA, change(delete("gone"), event("gone")))


@contextlib.contextmanager
def broken_at(fault: str) -> Iterator[None]:
    """A fault point raises, and is seen to."""
    plan = faults.plan(f"{fault}:raise")
    try:
        yield
        name, _, nth = fault.partition(":")
        assert plan.passed(name) >= int(nth), "the fault was not met"
    finally:
        faults.plan("")


def idle() -> Workflow:
    workflow = Workflow("idle")
    workflow.wait("wait", start=True, on={"go": "end"})
    workflow.final("end")
    return workflow


pairs = pytest.mark.parametrize("pair", PAIRS, ids="-".join)


# -- the merge ------------------------------------------------------------------------------------------------------

small_keys = st.builds(Key, st.sampled_from("ab"), st.sampled_from("ab"), st.sampled_from("ab"), st.sampled_from("abc"))
contents = st.dictionaries(small_keys, st.sampled_from(["", "x", "y"]), max_size=12)


async def told(given_: dict[Key, str]) -> AsyncIterator[History]:
    for each in sorted(given_, key=history_order):
        yield History(key=each, row=None, events=(), anchor=given_[each])


@given(source=contents, target=contents)
def test_what_differs_is_found_and_nothing_else(source: dict[Key, str], target: dict[Key, str]) -> None:
    async def merge() -> list[Pair]:
        return [pair async for pair in paired(told(source), told(target))]

    merged = asyncio.run(merge())
    whose = [(pair.source or pair.target).key for pair in merged if pair.source or pair.target]
    assert whose == sorted(source.keys() | target.keys(), key=history_order)
    after = dict(target)
    for wanted in filter(None, map(difference, merged)):
        assert source.get(wanted.key) != target.get(wanted.key)
        after[wanted.key] = wanted.anchor
        if wanted.key not in source:
            del after[wanted.key]
    assert after == source


async def test_keys_out_of_order_are_no_merge() -> None:
    async def wrong() -> AsyncIterator[History]:
        for name in ("b", "a"):
            yield History(key=key(name), row=None, events=())

    with pytest.raises(Corrupt, match="target: expected its keys in order, saw run a behind run b"):
        async for _ in paired(told({}), wrong()):
            pass


# -- the copy -------------------------------------------------------------------------------------------------------


@pairs
async def test_a_copy_holds_what_its_source_holds(pair: tuple[str, str], places: Places) -> None:
    async with two(pair, places, StepClock()) as (source, target):
        await fill(source)
        seen: list[Progress] = []
        done = await copied(source, target, on_progress=lambda progress, whole: seen.append(progress))
        assert await held(target) == await held(source)
        assert (done.records, done.events, done.written) == (KEYS + 2, 5, KEYS + 3)
        assert (done.removed, done.passes, done.is_resumed) == (0, 2, False)
        assert [each.number for each in seen] == [1] * 3 + [2] * 3


@pairs
@given(
    script=st.lists(commands, max_size=8), other=st.lists(commands, max_size=4), after=st.lists(commands, max_size=4)
)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_random_store_copied_over_another_goes_on_as_it_would_have(
    pair: tuple[str, str], places: Places, script: list[Any], other: list[Any], after: list[Any]
) -> None:
    """What the target held is gone, and every later command is answered as by the source."""

    async def go() -> None:
        clock = StepClock()
        async with two(pair, places, clock) as (source, target):
            for store, its_script in ((source, script), (target, other)):
                for command in its_script:
                    clock.advance(1)
                    await answer(store, command)
            before, streams = await held(source), (await held(target)).streams
            await copied(source, target, overwrite=True)
            assert (await held(target)).histories == before.histories == (await held(source)).histories
            if any(seq > before.streams.get(stream, 0) for stream, seq in streams.items()):
                return  # numbers that somebody may have seen are not given twice: positions differ from here on
            for command in after:
                clock.advance(1)
                assert await answer(target, command) == await answer(source, command)

    asyncio.run(go())


@pairs
async def test_numbers_that_a_reader_of_the_target_saw_are_not_given_again(
    pair: tuple[str, str], places: Places
) -> None:
    async with two(pair, places, StepClock()) as (source, target):
        for store, rows in ((source, 1), (target, 4)):
            await store.commit(ANA, change(put("a"), *(event("a") for _ in range(rows))))
        await copied(source, target, overwrite=True)
        answered = await target.commit(ANA, change(event("a")))
        assert answered.position is not None
        assert answered.position.seq == 5


@pairs
@pytest.mark.parametrize("fault", ["copy-page:1", "copy-page:2", "copy-adopt:1", "copy-end:1"])
async def test_a_copy_that_stopped_anywhere_goes_on(pair: tuple[str, str], places: Places, fault: str) -> None:
    """It writes nothing twice, and until it is whole no engine opens it, and nobody copies it."""
    async with two(pair, places, StepClock()) as (source, target):
        await fill(source)
        with broken_at(fault), pytest.raises(Unavailable, match="on purpose"):
            await copied(source, target)
        with pytest.raises(Rejected, match="unfinished copy"):
            async with Engine(target, idle(), durable=False):
                pytest.fail("an engine opened half a store")
        with pytest.raises(Rejected, match="unfinished copy"):
            await copied(target, MemoryStore())
        keys_before = len((await held(target)).histories) - 1
        done = await copied(source, target, attempt="two")
        assert (done.is_resumed, done.written) == (True, KEYS + 3 - keys_before)
        assert await held(target) == await held(source)
        async with Engine(target, idle(), works=False):
            pass


@pytest.mark.parametrize(
    ("kind", "nth"),
    [(kind, nth) for kind in ("sqlite", "postgres") for nth in (1, 2, 4, 5, 6)] + [("redis", 1), ("redis", 2)],
)
async def test_a_copy_whose_commit_has_no_answer_goes_on(places: Places, kind: str, nth: int) -> None:
    """The marker's, a page's, that of the numbers, and the last one; on Redis only the first and the last can be lost.
    What became of the marker is looked up, of a page's the next attempt sees it."""
    async with two(("memory", kind), places, StepClock()) as (source, target):
        await fill(source)
        is_lost = True
        with broken_at(f"store-after-commit:{nth}"), contextlib.suppress(CommitUnknown):
            await copied(source, target)
            is_lost = False
        assert is_lost == (kind != "redis" and nth in (2, 4, 5))
        if is_lost:
            assert (await copied(source, target, attempt="two")).is_resumed
        assert await held(target) == await held(source)
        await refuse_unfinished(target)


@pairs
async def test_a_target_that_is_not_empty_is_refused_unless_it_is_given_up(
    pair: tuple[str, str], places: Places
) -> None:
    async with two(pair, places, StepClock()) as (source, target):
        await fill(source, keys=100)
        await target.commit(ANA, change(put("a", body=b'"precious"'), put("mine"), event("mine")))
        before = await held(target)
        with pytest.raises(Rejected, match="expected an empty store, saw run a"):
            await copied(source, target)
        assert await held(target) == before
        done = await copied(source, target, overwrite=True)
        assert (done.removed, done.is_resumed) == (1, False)
        assert (await held(target)).histories == (await held(source)).histories


@pairs
async def test_half_a_copy_of_something_else_is_refused_unless_it_is_given_up(
    pair: tuple[str, str], places: Places, tmp_path: Path
) -> None:
    async with two(pair, places, StepClock()) as (source, target):
        await fill(source, keys=100)
        other = SqliteStore(tmp_path / "other.db", clock=StepClock())
        await fill(other, keys=300)
        with broken_at("copy-page:1"), pytest.raises(Unavailable):
            await copied(other, target)
        await other.close()
        with pytest.raises(Rejected, match=r"unfinished copy of .*other\.db"):
            await copied(source, target)
        assert (await copied(source, target, overwrite=True)).removed > 0
        assert (await held(target)).histories == (await held(source)).histories


async def test_one_store_by_two_names_is_refused_and_unhurt(tmp_path: Path) -> None:
    (tmp_path / "alias.db").symlink_to(tmp_path / "runs.db")
    source, target = SqliteStore(tmp_path / "runs.db"), SqliteStore(tmp_path / "alias.db")
    await fill(source, keys=100)
    before = await held(source)
    for one, other in ((source, source), (source, target)):
        with pytest.raises(InvalidInput, match="the same one as source and target"):
            await copied(one, other, overwrite=True)
    assert await held(source) == before
    await source.close()
    await target.close()


async def test_a_damaged_source_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    source, target = MemoryStore(), MemoryStore()
    await source.commit(ANA, change(put("a"), event("a")))
    async with source.snapshot() as view:
        (history,) = [each async for each in view.histories()]
    assert history.row is not None
    assert history.row.record is not None
    record = msgspec.structs.replace(history.row.record, body=b'"else"')
    await source.load([msgspec.structs.replace(history, row=history.row._replace(record=record))])
    with pytest.raises(Corrupt, match="expected a sound store to copy, saw 1 problems, the first: run a"):
        await copied(source, target)
    assert (await held(target)).histories == []


class Forgetful(MemoryStore):
    """Says that it wrote what it did not write."""

    async def load(self, histories: Any) -> None:
        await super().load([each for each in histories if each.key.id != "b"])


async def test_a_target_that_does_not_keep_what_was_written_is_found() -> None:
    source = MemoryStore()
    await fill(source, keys=100)
    with pytest.raises(Unavailable, match="expected nothing to differ after 4 passes, saw run b"):
        await copied(source, Forgetful())


class Interrupted(MemoryStore):
    """Something happens before it loads its first page."""

    before_load: Callable[[], Any] | None = None

    async def load(self, histories: Any) -> None:
        happens, self.before_load = self.before_load, None
        if happens is not None:
            await happens()
        await super().load(histories)


async def test_what_is_written_to_the_source_meanwhile_is_copied_too() -> None:
    """`check` looks for engines at the beginning and at the end; who came and went in between left something."""
    source, target = MemoryStore(), Interrupted()
    await fill(source, keys=100)

    async def late() -> None:
        await source.commit(ANA, change(put("late"), event("late")))

    target.before_load = late
    done = await copied(source, target)
    assert (await held(target)).histories == (await held(source)).histories
    assert done.passes == 3


async def test_an_engine_that_came_meanwhile_keeps_a_copy_from_being_whole() -> None:
    source, target = MemoryStore(), MemoryStore()
    await fill(source, keys=100)
    calls = 0

    async def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Rejected("an engine is at work")

    with pytest.raises(Rejected, match="an engine is at work"):
        await copied(source, target, check=check)
    assert (await target.read(Scope.system(), [MARKER]))[0] is not None


async def test_a_second_attempt_stops_the_first() -> None:
    """Two processes at one copy: the one that began later finishes, the other one stops."""
    source, target = MemoryStore(), Interrupted()
    await fill(source)
    later: list[Copied] = []

    async def begin_again() -> None:
        later.append(await copied(source, target, attempt="two"))

    target.before_load = begin_again
    with pytest.raises(Conflict, match="another process took it over"):
        await copied(source, target)
    assert [each.is_resumed for each in later] == [True]
    assert await held(target) == await held(source)
