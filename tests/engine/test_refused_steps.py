"""What goes wrong at the edge of a step is heard: refused memos, notes no journal can hold, ends nobody asked for."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from holdfast import Conflict, InvalidInput, Retry, RunContext, RunHandle, Workflow
from holdfast.store.contract.records import Change, Claim, Commit, Scope
from holdfast.store.memory import MemoryStore
from holdfast.testing import Lab, VirtualClock
from holdfast.workflow.model.run import MEMO, RUN
from tests.engine.journal import facts, told
from tests.engine.labs import OpenLab, World


def flow(handler: Any, *, attempts_max: int = 1) -> Workflow:
    workflow = Workflow("flow", retry=Retry(attempts_max=attempts_max, first_s=1))
    workflow.add_state("work", handler, start=True, to="end")
    workflow.final("end")
    return workflow


async def settled(lab: Lab, seconds: float = 5) -> RunHandle:
    """The run of `flow` once nothing moves any more, `seconds` later."""
    run = await lab.start("flow", id="T")
    await lab.skip(seconds)
    return await run.refresh()


def reason_of(run: RunHandle) -> str:
    """Why a run stopped as failed."""
    assert run.status == "failed", run.status
    return run.run.reason


class SpoiltStore(MemoryStore):
    """The first change with memos meets `spoiler` on its way in."""

    def __init__(self, clock: VirtualClock, spoiler: Any) -> None:
        super().__init__(clock=clock)
        self._spoiler = spoiler

    async def commit(self, scope: Scope, change: Change) -> Commit:
        if self._spoiler is not None and any(write.key.kind == MEMO for write in change.writes):
            spoiler, self._spoiler = self._spoiler, None
            await spoiler(self, change)
        return await super().commit(scope, change)


def napping(world: World) -> Any:
    """A handler whose first memo is on its way while nobody waits for it."""

    async def work(ctx: RunContext) -> None:
        await ctx.step("one", world.do, "one")
        await ctx.sleep(1)
        await ctx.step("two", world.do, "two")

    return work


# -- memos ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("open_lab", ["memory", "sqlite"], indirect=True)  # where nothing is cached it is seen at once
async def test_a_memo_refused_while_nobody_waits_for_it_stops_the_next_step(open_lab: OpenLab) -> None:
    world = World()

    async def work(ctx: RunContext) -> None:
        await ctx.step("one", world.do, "one", key="u" * 1100)
        await ctx.sleep(1)
        await ctx.step("two", world.do, "two")

    run = await settled(await open_lab(flow(work)))
    assert "expected at most 1000 signs, saw 1" in reason_of(run)
    assert world.calls == {"one": 1}


async def test_a_run_lost_while_its_memo_was_under_way_goes_no_further() -> None:
    world, clock = World(), VirtualClock()

    async def steal(store: MemoryStore, change: Change) -> None:
        (mine,) = (require.key for require in change.requires)
        record = (await store.read(Scope.system(), [mine]))[0]
        assert record is not None
        claim = Claim(kind=RUN, owner="somebody", from_owners=(record.owner,), ids=(mine.id,))
        assert len(await store.claim(Scope.system(), claim)) == 1

    async with Lab(flow(napping(world)), clock=clock, store=SpoiltStore(clock, steal)) as lab:
        run = await settled(lab)
        assert (run.status, world.calls) == ("running", {"one": 1}), "it is somebody's"
        assert len(lab.engine.inside.crew) == 0


async def test_the_next_attempt_knows_that_a_memo_was_refused() -> None:
    world, clock = World(), VirtualClock()

    async def refuse(store: MemoryStore, change: Change) -> None:
        raise Conflict("refused on purpose")

    store = SpoiltStore(clock, refuse)
    async with Lab(flow(napping(world), attempts_max=2), clock=clock, store=store) as lab:
        run = await settled(lab)
        assert (run.status, world.calls) == ("done", {"one": 2, "two": 1})


# -- ends nobody asked for --------------------------------------------------------------------------------------


async def cancelled_within() -> None:
    """Waits for something that was cancelled."""
    other = asyncio.ensure_future(asyncio.sleep(10))
    other.cancel()
    await other


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_map_whose_item_was_cancelled_from_within_fails(open_lab: OpenLab, concurrency: int) -> None:
    given: list[Any] = []

    async def work(ctx: RunContext) -> None:
        async def item(number: int) -> int:
            if number == 0:
                await cancelled_within()
            return number

        given.extend(await ctx.map("item", item, [0, 1, 2, 3], key=str, concurrency=concurrency))

    run = await settled(await open_lab(flow(work)))
    assert "step function item waited for something that was cancelled" in reason_of(run)
    assert given == []


async def test_a_step_that_was_cancelled_from_within_is_tried_again(open_lab: OpenLab) -> None:
    world = World()

    async def work(ctx: RunContext) -> None:
        async def once() -> None:
            if world.do("try") == 1:
                await cancelled_within()

        await ctx.step("once", once)

    run = await settled(await open_lab(flow(work, attempts_max=2)))
    assert (run.status, world.calls) == ("done", {"try": 2})


async def test_a_sync_step_that_raises_stop_iteration_fails(open_lab: OpenLab) -> None:
    async def work(ctx: RunContext) -> None:
        await ctx.step("first", lambda: next(iter([])))

    run = await settled(await open_lab(flow(work)))
    assert reason_of(run) == "RuntimeError: step function raised StopIteration"


# -- notes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    ["a\0b", "x" * 2_000_000, float("nan"), object(), "\udcff"],
    ids=["NUL", "large", "NaN", "object", "surrogate"],
)
async def test_a_note_no_journal_can_hold_is_the_handlers_error(open_lab: OpenLab, odd: object) -> None:
    raised: list[str] = []

    async def work(ctx: RunContext) -> None:
        try:
            ctx.note("tool said", out=odd)
        except InvalidInput as error:
            raised.append(str(error))
        ctx.note("went on")

    run = await settled(await open_lab(flow(work)))
    assert run.status == "done"
    assert len(raised) == 1
    assert raised[0].startswith("note of state work: expected")
    assert [note["text"] for note in await told(run, "note")] == ["went on"]


async def test_notes_without_number_are_kept_in_order(open_lab: OpenLab) -> None:
    async def work(ctx: RunContext) -> None:
        for number in range(2100):
            ctx.note("line", number=number)

    lab = await open_lab(flow(work))
    run = await settled(lab)
    assert run.status == "done"
    events = await lab.store.events(Scope.system(), record=run.run.key, limit=10_000)
    assert [facts(event)["metadata"]["number"] for event in events if event.name == "note"] == list(range(2100))


# -- functions --------------------------------------------------------------------------------------------------


async def test_a_step_function_and_what_it_holds_are_free_to_go() -> None:
    held: list[weakref.ref[World]] = []

    async def work(ctx: RunContext) -> None:
        world = World()
        held.append(weakref.ref(world))
        await ctx.step("one", lambda: world.do("one"))

    async with Lab(flow(work)) as lab:
        await settled(lab)
        gc.collect()
        assert [reference() for reference in held] == [None]


async def test_a_callable_object_without_weak_references_gets_its_key() -> None:
    keys: list[str] = []

    class Maker:
        __slots__ = ()
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, *, key: str) -> str:
            keys.append(key)
            return key

    async def work(ctx: RunContext) -> None:
        await ctx.step("one", Maker())

    async with Lab(flow(work)) as lab:
        run = await settled(lab)
        assert keys == [f"{run.id}/work#1/one"]
