"""A run that waits for a lock gives its place to the one who has the lock, but does not come and go without end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast import Engine, Retry, RunContext, Workflow, open_store
from holdfast.testing import Lab, VirtualClock
from holdfast.workflow.actors.way import Way
from tests.engine.journal import told
from tests.engine.test_taking_over import die

SWEEP_S = 1.0


class Waiting:
    """An actor of a run that waits for a lock, as far as whoever makes way sees it."""

    def __init__(self, run: Any) -> None:
        self.run = run
        self.asked = 0

    def step_aside(self) -> None:
        self.asked += 1


class Full:
    """A crew in which one run waits."""

    beyond = 0

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting

    def waiting_for_locks(self) -> list[Any]:
        return [self._waiting]

    def handlers(self) -> list[str]:
        return []


async def test_who_waits_for_one_that_cannot_be_taken_up_steps_aside_once_a_sweep() -> None:
    lab = Lab()
    gate = lab.gate()
    workflow = Workflow("repair", data=dict)

    @workflow.state("work", start=True, to="end", lock=lambda data: ("repository", "company/cart"))
    async def work(ctx: RunContext) -> None:
        await gate.wait()

    workflow.final("end")
    async with lab:
        await lab.restart(workflow)
        await lab.start("repair")
        await lab.settle()
        waits = await lab.start("repair")
        await lab.settle()
        runtime, crew = lab.engine.inside.runtime, lab.engine.inside.crew
        actor = crew.find(waits.id)
        assert actor is not None
        waiting, dead = Waiting(actor.run), {runtime.process_id}
        way = Way(runtime, Full(waiting), sweep_s=SWEEP_S, on_due=lambda: None)  # type: ignore[arg-type]
        for round_ in range(10):
            await way.make(dead=dead, round_=round_)
        assert waiting.asked == 1
        await lab.skip(SWEEP_S)
        await way.make(dead=dead, round_=10)
        assert waiting.asked == 2
        await way.make(dead=set(), round_=11)
        assert waiting.asked == 2, "its holder works"
        gate.open()
        await lab.settle()


async def test_who_comes_to_wait_while_all_places_are_taken_makes_way_too() -> None:
    """No sweep happens in between: the store is this process's alone, and nothing else comes or goes."""
    workflow = Workflow("late", data=dict, retry=Retry(first_s=1, jitter=0))
    lab = Lab(workflow, runs_max=1)
    gate = lab.gate()
    begun: list[str] = []

    @workflow.state("read", start=True, to="work")
    async def read(ctx: RunContext) -> None:
        if ctx.ticket_id == "second":
            await gate.wait()

    @workflow.state("work", to="end", lock=lambda data: ("repository", "company/cart"))
    async def work(ctx: RunContext) -> None:
        begun.append(ctx.ticket_id)
        if begun == ["first"]:
            raise ConnectionError("not yet")

    workflow.final("end")
    async with lab:
        await lab.start("late", id="first")
        await lab.settle()
        await lab.start("late", id="second")
        await lab.skip(10)
        assert begun == ["first"], "the place is taken, so it cannot go on"
        gate.open()
        await lab.skip(10)
        assert begun == ["first", "first", "second"]


async def test_a_dead_process_leaves_a_lock_to_one_whose_only_place_waits_for_it(tmp_path: Path) -> None:
    """The run of the dead is taken up by the place of the handler that waits for its lock in a block without an end,
    and the death is counted as any other."""
    clock = VirtualClock()
    store = open_store(f"sqlite:///{tmp_path / 'runs.db'}", clock=clock)
    holding, asking = Workflow("holding"), Workflow("asking")
    begun: list[str] = []

    @holding.state("work", start=True, to="end", lock=lambda data: ("repository", "company/cart"))
    async def hold(ctx: RunContext) -> None:
        begun.append("hold")
        await ctx.sleep(1e6 if len(begun) == 1 else 0)

    @asking.state("work", start=True, to="end")
    async def ask(ctx: RunContext) -> None:
        async with ctx.acquire_resource_lock("repository", "company/cart"):
            begun.append("ask")

    holding.final("end")
    asking.final("end")
    old = await Engine(store, holding, clock=clock).__aenter__()
    try:
        first = await old.start("holding", id="first", user="tester")
        async with Lab(holding, asking, store=store, clock=clock, runs_max=1) as lab:
            await lab.start("asking", id="second")
            await lab.settle()
            assert begun == ["hold"]
            await die(old)
            await lab.skip("10s")
            assert begun == ["hold", "hold", "ask"]
            assert [row["deaths"] for row in await told(await lab.client.get(first.id), "recovered")] == [1]
    finally:
        await old.close()
        await store.close()


async def test_a_suspect_that_waits_for_another_ones_lock_lets_that_one_be_tried_first(tmp_path: Path) -> None:
    """They are tried one at a time: the first in line would wait for the second one for ever."""
    clock = VirtualClock()
    store = open_store(f"sqlite:///{tmp_path / 'runs.db'}", clock=clock)
    workflow = Workflow("repair")
    begun: list[str] = []

    @workflow.state("read", start=True, to="work")
    async def read(ctx: RunContext) -> None:
        if ctx.ticket_id == "first":
            await ctx.sleep(1)

    @workflow.state("work", to="end", lock=lambda data: ("repository", "company/cart"))
    async def work(ctx: RunContext) -> None:
        begun.append(ctx.ticket_id)
        await ctx.sleep(1e6 if len(begun) == 1 else 0)

    workflow.final("end")
    old = await Engine(store, workflow, clock=clock, deaths_max=2).__aenter__()
    try:
        async with Lab(store=store, clock=clock) as around:
            for name in ("first", "second"):
                await old.start("repair", id=name, user="tester")
            await around.skip("2s")
        assert begun == ["second"]
        await die(old)
        async with Lab(workflow, store=store, clock=clock, deaths_max=2) as lab:
            await lab.skip("1m")
            assert begun == ["second", "second", "first"]
            for name in ("first", "second"):
                run = await lab.client.get(name)
                assert (run.state, len(await told(run, "suspected"))) == ("end", 1)
    finally:
        await old.close()
        await store.close()
