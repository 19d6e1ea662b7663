"""The engine on a store that refuses, loses answers and delays: no effect twice, no transition twice, no run lost."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import ErrorType, Retry, RunContext, Workflow, WorkflowError
from holdfast.clock import seeded_randomness
from holdfast.errors import Unavailable
from holdfast.store.contract.records import Change, Commit, Page, Put, Query, Scope
from holdfast.store.memory import MemoryStore
from holdfast.testing import Fault, FaultyStore, Lab, VirtualClock, When
from holdfast.workflow.model.run import MEMO
from tests.engine.journal import check_everything, moves
from tests.engine.labs import World

RATES = {Fault.REFUSE: 0.05, Fault.LOSE_BEFORE: 0.05, Fault.LOSE_AFTER: 0.05, Fault.DELAY: 0.1}


def job(world: World) -> Workflow:
    """Three steps, two regions with a step each, a wait, and one last step."""
    workflow = Workflow("job", data=dict, retry=Retry(attempts_max=9))

    @workflow.state("prepare", start=True, to="both")
    async def prepare(ctx: RunContext) -> None:
        for name in ("one", "two", "three"):
            await ctx.step(name, world.make, f"{ctx.ticket_id}:{name}")

    workflow.parallel("both", to="open")
    for region in ("left", "right"):

        @workflow.state(f"both.{region}")
        async def work(ctx: RunContext, region: str = region) -> None:
            ctx.data[region] = await ctx.step("work", world.make, f"{ctx.ticket_id}:{region}")

    workflow.wait("open", on={"approve": "deploy"}, after={"30s": "deploy"})

    @workflow.state("deploy", to="end")
    async def deploy(ctx: RunContext) -> None:
        await ctx.step("deploy", world.make, f"{ctx.ticket_id}:deploy")

    workflow.final("end")
    return workflow


EVERY_STEP = ("one", "two", "three", "left", "right", "deploy")


class Weather:
    """Chance for the faulty store: nothing happens while it is calm."""

    def __init__(self, seed: int) -> None:
        self._chance = seeded_randomness(seed)
        self.is_calm = True

    def random(self) -> float:
        return 1.0 if self.is_calm else self._chance.random()

    def getrandbits(self, k: int, /) -> int:
        return self._chance.getrandbits(k)


@given(seed=st.integers(0, 10_000), is_cold=st.booleans())
@settings(max_examples=40)
def test_runs_on_an_unreliable_store_end_as_on_a_good_one(seed: int, is_cold: bool) -> None:
    seen = asyncio.run(_work_through(seed, is_cold))
    assert seen.total() > 0, "a test of faults without a fault tests nothing"


async def _work_through(seed: int, is_cold: bool) -> Counter[Fault]:
    world, clock, weather = World(), VirtualClock(), Weather(seed)
    inner = MemoryStore(clock=clock)

    async def pause() -> None:
        await clock.sleep(0.5)

    store = FaultyStore(inner, rates=RATES, chance=weather, pause=pause)
    async with Lab(job(world), clock=clock, store=store, seed=seed, is_cold=is_cold) as lab:
        runs = [await lab.start("job", id=f"T-{number}") for number in range(3)]
        weather.is_calm = False
        await lab.skip("20m")
        weather.is_calm = True
        await lab.skip("1m")
        for run in runs:
            assert (await run.refresh()).status == "done", lab.engine.inside.problems
            straight = [move for move in await moves(run) if "error" not in move]
            assert max(Counter(straight).values()) == 1
    assert set(world.calls) == {f"T-{number}:{step}" for number in range(3) for step in EVERY_STEP}
    assert world.made == len(world.calls), "whatever was run twice had its old key"
    await check_everything(inner)
    await inner.close()
    return store.seen


def keeps_memo(change: Change) -> bool:
    return any(write.key.kind == MEMO for write in change.writes)


@pytest.mark.parametrize("fault", [Fault.REFUSE, Fault.LOSE_BEFORE, Fault.LOSE_AFTER, Fault.DELAY])
@pytest.mark.parametrize("nth", [1, 2])
async def test_a_memo_whose_commit_goes_wrong_is_kept_once(fault: Fault, nth: int) -> None:
    world, clock = World(), VirtualClock()
    inner = MemoryStore(clock=clock)

    async def pause() -> None:
        await clock.sleep(0.5)

    store = FaultyStore(inner, script=[When("commit", nth, fault, keeps_memo)], pause=pause)
    async with Lab(job(world), clock=clock, store=store) as lab:
        run = await lab.start("job", id="T")
        await lab.skip("1m")
        assert (await run.refresh()).status == "done"
    assert world.calls == {f"T:{step}": 1 for step in EVERY_STEP}
    assert store.unseen() == []
    await check_everything(inner)
    await inner.close()


def is_end(change: Change) -> bool:
    return any(b'"to":"end"' in event.body for event in change.events)


async def test_a_transition_whose_answer_is_lost_is_told_once() -> None:
    clock = VirtualClock()
    inner = MemoryStore(clock=clock)
    store = FaultyStore(inner, script=[When("commit", 1, Fault.LOSE_AFTER, is_end)])
    async with Lab(job(World()), clock=clock, store=store) as lab:
        run = await (await lab.start("job")).reach("open")
        await run.send("approve", by="ana")
        await lab.settle()
        assert (await run.refresh()).status == "done"
        assert [move for move in await moves(run) if move.endswith("-> end")] == ["deploy -deploy.done-> end"]
    assert store.unseen() == []
    await inner.close()


def takes_signal(change: Change) -> bool:
    return any(b'"trigger":"approve"' in event.body for event in change.events)


async def test_a_signal_whose_answer_is_lost_is_taken_once() -> None:
    clock = VirtualClock()
    inner = MemoryStore(clock=clock)
    store = FaultyStore(inner, script=[When("commit", 1, Fault.LOSE_AFTER, takes_signal)])
    async with Lab(job(World()), clock=clock, store=store) as lab:
        run = await (await lab.start("job")).reach("open")
        await run.send("approve", by="ana")
        await lab.settle()
        assert [move for move in await moves(run) if "approve" in move] == ["open -approve-> deploy"]
    assert store.unseen() == []
    await inner.close()


class Forgetful(MemoryStore):
    """Away whenever memos are asked for, so many times."""

    refusals = 0

    async def scan(self, scope: Scope, query: Query, *, after: str | None = None, limit: int = 100) -> Page:
        if query.kind == MEMO and self.refusals:
            self.refusals -= 1
            raise Unavailable("the connection was lost")
        return await super().scan(scope, query, after=after, limit=limit)


async def test_a_store_that_is_away_as_a_state_is_taken_up_is_no_failure_of_the_state() -> None:
    """Its memos are waited for: no attempt counts as failed, and what was done is not done again."""
    world, clock = World(), VirtualClock()
    store = Forgetful(clock=clock)
    async with Lab(store=store, clock=clock) as lab:
        gate = lab.gate()
        held = Workflow("held", data=dict, retry=Retry(attempts_max=1))

        @held.state("work", start=True, to="end")
        async def work(ctx: RunContext) -> None:
            await ctx.step("one", world.make, "one")
            await ctx.step("two", gate.wait)

        held.final("end")
        await lab.restart(held)
        run = await lab.start("held")
        await lab.settle()
        store.refusals = 20
        await lab.restart()
        gate.open()
        await lab.skip("60s")
        assert await moves(run) == ["-start-> work", "work -work.done-> end"]
    assert (store.refusals, world.calls) == (0, {"one": 1})
    await store.close()


class SlowToStop(MemoryStore):
    """Takes its time to store that a run has failed: `stopping` is set meanwhile."""

    def __init__(self, *, clock: VirtualClock) -> None:
        super().__init__(clock=clock)
        self.stopping = asyncio.Event()

    async def commit(self, scope: Scope, change: Change) -> Commit:
        if any(isinstance(write, Put) and write.status == "failed" for write in change.writes):
            self.stopping.set()
            for _ in range(20):
                await asyncio.sleep(0)
        return await super().commit(scope, change)


async def test_what_ends_while_the_run_is_being_stopped_does_not_set_it_going_again() -> None:
    clock, world = VirtualClock(), World()
    store = SlowToStop(clock=clock)
    workflow = Workflow("two", data=dict, retry=Retry(attempts_max=1))
    workflow.parallel("both", to="end", start=True)

    @workflow.state("both.bad")
    async def bad(ctx: RunContext) -> None:
        if world.do("bad") == 1:
            raise WorkflowError("no use", error_type=ErrorType.PERMANENT)

    @workflow.state("both.good")
    async def good(ctx: RunContext) -> None:
        await store.stopping.wait()
        world.do("good")

    workflow.final("end")
    async with Lab(workflow, clock=clock, store=store) as lab:
        run = await lab.start("two")
        await lab.skip("1s")
        assert ((await run.refresh()).status, world.calls) == ("failed", {"bad": 1, "good": 1})
        await run.resume(by="ops")
        await lab.skip("1s")
        assert (await run.refresh()).state == "end"
    await store.close()
