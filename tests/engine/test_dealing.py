"""Work that a queue outside deals out: each answer of `take_up`, what `unclaimed` tells, and what `worked_on` names."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from holdfast import Engine, NotFound, RunContext, RunHandle, UnclaimedRun, Workflow
from holdfast.store.contract.protocol import Store
from holdfast.store.open import open_store
from holdfast.testing import Lab, VirtualClock
from holdfast.testing.virtual_clock import Gate
from holdfast.workflow.model.run import Run
from tests.engine.journal import check_everything
from tests.engine.test_taking_over import die

USER = "ana"
SOON_S = 10.0
"""Real seconds within which a place that came free is taken."""


class Shop:
    """A store of several processes, and whom was told of what."""

    def __init__(self, store: Store, clock: VirtualClock) -> None:
        self.store = store
        self.clock = clock
        self.dealt: list[str] = []
        self.suspects: list[str] = []
        self.at_work: list[str] = []
        self.gate = Gate(clock)
        self._seeds = itertools.count()

    def orders(self, *, version: int = 1) -> Workflow:
        """Works until the gate is open, then waits for a word or ten seconds."""
        workflow = Workflow("orders", version=version, data=dict)

        async def pack(ctx: RunContext) -> None:
            self.at_work.append(ctx.input)
            await self.gate.wait()

        workflow.add_state("packing", pack, start=True, to="packed")
        workflow.wait("packed", on={"ship": "shipped"}, after={"10s": "shipped"})
        workflow.final("shipped")
        return workflow

    def deal(self, run: UnclaimedRun) -> None:
        (self.suspects if run.is_suspect else self.dealt).append(run.id)

    def door(self, *, version: int = 1) -> Engine:
        """Starts and sends, works on nothing, and deals out."""
        return Engine(self.store, self.orders(version=version), clock=self.clock, works=False, deal=self.deal)

    def worker(self, **options: object) -> Lab:
        """A process that works on what it is handed."""
        seed = next(self._seeds)
        return Lab(self.orders(), store=self.store, clock=self.clock, seed=seed, user=USER, deal=self.deal, **options)

    async def start(self, name: str) -> RunHandle:
        """A run that nobody works on."""
        async with self.door() as door:
            return await door.start("orders", name, id=name, user=USER)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    clock = VirtualClock()
    store = open_store(f"sqlite:///{tmp_path / 'runs.db'}", clock=clock)
    yield Shop(store, clock)
    await check_everything(store)
    await store.close()


async def left(engine: Engine, *, is_thorough: bool = False) -> dict[str, bool]:
    """What nobody works on: its id, and whether word of it may be under way."""
    return {run.id: run.is_new async for run in engine.unclaimed(is_thorough=is_thorough)}


async def take_up(lab: Lab, run: RunHandle, *, wait_max_s: float = 0.0) -> str:
    answer = await lab.engine.take_up(run.id, user=USER, wait_max_s=wait_max_s)
    await lab.settle()
    return answer


async def test_whoever_is_handed_a_run_first_has_it_and_nobody_looks_for_work(shop: Shop) -> None:
    async with shop.worker() as first, shop.worker() as second:
        run = await shop.start("A")
        assert shop.dealt == [run.id]
        await first.skip("5s")
        assert shop.at_work == [], "work that is dealt out is not looked for"
        assert await take_up(first, run) == "taken"
        assert [await take_up(lab, run) for lab in (first, second, second)] == ["owned"] * 3
        assert (shop.at_work, [run.id for run in first.engine.worked_on()]) == (["A"], [run.id])
        assert second.engine.worked_on() == []
        assert await left(second.engine) == {}


async def test_there_is_nothing_to_do_for_a_run_that_waits_or_has_ended(shop: Shop) -> None:
    shop.gate.open()
    async with shop.worker() as lab:
        run = await shop.start("A")
        assert await take_up(lab, run) == "taken"
        assert (await run_of(lab, run)).status == "waiting"
        assert await take_up(lab, run) == "idle"
        await lab.skip("10s")
        assert (await left(lab.engine), await take_up(lab, run)) == ({run.id: False}, "taken")
        assert (await run_of(lab, run)).status == "done"
        assert (await left(lab.engine), await take_up(lab, run)) == ({}, "idle")


async def test_a_signal_to_a_run_that_waits_is_dealt_out(shop: Shop) -> None:
    shop.gate.open()
    async with shop.worker() as lab, shop.door() as door:
        run = await door.start("orders", "A", user=USER)
        await take_up(lab, run)
        shop.dealt.clear()
        await run.refresh()
        await run.send("ship", by=USER)
        await take_up(lab, run)
        assert (await run_of(lab, run)).status == "done"


async def test_a_full_process_takes_no_more_until_a_place_comes_free(shop: Shop) -> None:
    async with shop.worker(runs_max=1) as lab:
        first, second = await shop.start("A"), await shop.start("B")
        assert await take_up(lab, first) == "taken"
        assert await take_up(lab, second) == "full"
        assert await left(lab.engine) == {second.id: True}
        waits = asyncio.ensure_future(lab.engine.take_up(second.id, user=USER, wait_max_s=SOON_S))
        await lab.settle()
        assert not waits.done()
        shop.gate.open()
        assert await waits == "taken"
        await lab.settle()
    assert shop.at_work == ["A", "B"]


async def test_what_is_not_known_here_is_not_found(shop: Shop) -> None:
    async with shop.door(version=2) as door:
        newer = await door.start("orders", "A", user=USER)
    async with shop.worker() as lab:
        with pytest.raises(NotFound, match=r"does not know orders@2; it knows orders@1"):
            await lab.engine.take_up(newer.id, user=USER)
        with pytest.raises(NotFound, match=newer.id):
            await lab.engine.take_up(newer.id, user="bob")
        with pytest.raises(NotFound):
            await lab.engine.take_up("no such run", user=USER)
        assert await left(lab.engine) == {}


async def test_what_a_dead_process_had_is_told_and_taken_over(shop: Shop) -> None:
    async with shop.worker() as first, shop.worker() as second:
        run = await shop.start("A")
        await take_up(first, run)
        assert await take_up(second, run) == "owned"
        await die(first.engine)
        assert await left(second.engine) == {run.id: False}
        assert await take_up(second, run) == "taken"
        assert (await run_of(second, run)).deaths == 1


async def test_a_process_that_drains_names_what_it_worked_on_and_gives_it_back(shop: Shop) -> None:
    async with shop.worker() as first, shop.worker() as second:
        run = await shop.start("A")
        await take_up(first, run)
        named = first.engine.worked_on()
        assert await first.engine.drain(grace_s=0.0) == 1
        assert [run.id for run in named] == [run.id]
        assert await take_up(second, run) == "taken"
        assert (await run_of(second, run)).deaths == 0


async def test_a_killer_is_dealt_as_a_suspect_and_set_aside_at_its_limit(shop: Shop) -> None:
    """Three processes die while they work on it: the third with no other suspect beside it."""
    run = await shop.start("A")
    async with AsyncExitStack() as killed:
        for deaths in range(2):
            lab = await killed.enter_async_context(shop.worker())
            assert await take_up(lab, run) == "taken"
            assert shop.at_work.count("A") == deaths + 1
            await die(lab.engine)
        lab = await killed.enter_async_context(shop.worker())
        assert await take_up(lab, run) == "taken"  # and put back at once, for its turn
        assert (shop.suspects, shop.at_work.count("A")) == ([run.id], 2)
        assert [(left.id, left.is_suspect) async for left in lab.engine.unclaimed()] == [(run.id, True)]
        assert await take_up(lab, run) == "taken"
        assert shop.at_work.count("A") == 3
        await die(lab.engine)
        async with shop.worker() as lab:
            assert await take_up(lab, run) == "taken"
            found = await run_of(lab, run)
            assert (found.status, found.deaths) == ("poisoned", 3)
            assert (await take_up(lab, run), await left(lab.engine)) == ("idle", {})
    assert shop.at_work == ["A"] * 3


async def test_suspects_are_worked_on_one_at_a_time(shop: Shop) -> None:
    runs = [await shop.start(name) for name in "AB"]
    async with AsyncExitStack() as killed:
        for _ in range(2):
            lab = await killed.enter_async_context(shop.worker())
            assert [await take_up(lab, run) for run in runs] == ["taken"] * 2
            await die(lab.engine)
        async with shop.worker() as lab:
            assert [await take_up(lab, run) for run in runs] == ["taken"] * 2  # and put back, as suspects
            assert [await take_up(lab, run) for run in runs] == ["taken", "full"]
            shop.gate.open()
            assert await lab.engine.take_up(runs[1].id, user=USER, wait_max_s=SOON_S) == "taken"
            await lab.settle()
            assert [(await run_of(lab, run)).status for run in runs] == ["waiting"] * 2


async def run_of(lab: Lab, run: RunHandle) -> Run:
    """How a run stands in the store."""
    return (await lab.client.get(run.id)).run
