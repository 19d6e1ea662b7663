"""Runs whose dependency is not well stand aside, keep what they have, spend no retry, and go on when it is back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from holdfast import (
    BreakerOptions,
    Dependencies,
    Dependency,
    Engine,
    InvalidDefinition,
    Limit,
    Retry,
    RunContext,
    Workflow,
)
from holdfast.clock import seeded_randomness
from holdfast.store.contract.records import ABSENT, Change, Delete, Key, Put, Scope
from holdfast.store.memory import MemoryStore
from holdfast.testing import Lab, VirtualClock
from holdfast.workflow.model.run import PARKED, RUN
from tests.engine.journal import check_everything, told
from tests.engine.labs import World

QUICK = BreakerOptions(window_calls=10, calls_min=2, open_s=5.0, jitter=0.0, probes=1, ramp_s=0.0)


class Model:
    """A model that is down or up as it is told."""

    def __init__(self) -> None:
        self.is_down = False
        self.calls = 0
        self.pings = 0

    async def ask(self, question: str) -> str:
        self.calls += 1
        if self.is_down:
            raise ConnectionError("no answer")
        return f"{question}!"

    async def ping(self) -> None:
        self.pings += 1
        if self.is_down:
            raise ConnectionError("no answer")


class Stage:
    """A model, what needs it, and a lab whose runs call it."""

    def __init__(
        self, *, has_probe: bool = True, has_lock: bool = False, limits: Sequence[Limit] = (), **options: Any
    ) -> None:
        self.limits = limits
        self.clock = VirtualClock()
        self.lock = (lambda data: ("desk", "one")) if has_lock else None
        self.model, self.world = Model(), World()
        self.dependencies = Dependencies(
            Dependency(name="llm", kind="llm", options=QUICK, probe=self.model.ping if has_probe else None),
            Dependency(name="agent", kind="agent", needs=("llm",), options=QUICK),
            clock=self.clock,
            randomness=seeded_randomness(1),
        )
        store = MemoryStore(clock=self.clock)
        self.lab = Lab(self.workflow(), clock=self.clock, store=store, dependencies=self.dependencies, **options)
        self.store = store

    def workflow(self) -> Workflow:
        workflow = Workflow("answer", data=dict, retry=Retry(attempts_max=2, jitter=0))

        @workflow.state("think", start=True, to="done", needs=["llm"], lock=self.lock, limits=self.limits)
        async def think(ctx: RunContext) -> None:
            await ctx.step("prepare", self.world.do, "prepare")
            llm = self.dependencies.on("llm")
            ctx.data["answer"] = await ctx.step("ask", llm.call, self.model.ask, str(ctx.input))

        workflow.final("done")
        return workflow

    async def run_into_the_outage(self, number: int = 1) -> list[Any]:
        self.model.is_down = True
        return [await self.lab.start("answer", f"why {n}") for n in range(number)]


@pytest.fixture
async def stages() -> AsyncIterator[Any]:
    async with AsyncExitStack() as stack:

        async def open_one(**options: Any) -> Stage:
            stage = Stage(**options)
            await stack.enter_async_context(stage.lab)
            stack.push_async_callback(check_everything, stage.store)
            return stage

        yield open_one


@pytest.mark.parametrize("is_cold", [False, True])
async def test_a_breaker_that_opens_in_mid_run_parks_it_with_what_it_has(stages: Any, is_cold: bool) -> None:
    stage = await stages(is_cold=is_cold)
    (run,) = await stage.run_into_the_outage()
    await stage.lab.settle()
    await stage.lab.skip(3)  # the second attempt opens the breaker
    await run.refresh()
    assert (run.status, run.state) == ("waiting", "think")
    (parked,) = await told(run, "parked")
    assert (parked["state"], parked["on"]) == ("think", "llm")
    assert "breaker llm is open" in parked["reason"]
    calls = stage.model.calls
    await stage.lab.skip(600)
    assert stage.model.calls == calls, "it was called while it was down"
    stage.model.is_down = False
    await stage.lab.skip(70)
    await run.refresh()
    assert (run.state, run.data["answer"]) == ("done", "why 0!")
    assert stage.world.calls == {"prepare": 1}, "what was done is done"
    (row,) = await told(run, "unparked")
    assert row["on"] == "llm"
    assert 600 <= row["parked_s"] <= 670
    assert not stage.dependencies.ill_since()


async def test_runs_that_come_to_it_later_are_parked_before_they_begin(stages: Any) -> None:
    stage = await stages()
    stage.model.is_down = True
    stage.dependencies.breaker("llm").open("planted")
    run = await stage.lab.start("answer", "why")
    await stage.lab.settle()
    assert stage.world.calls == {}
    assert [row["on"] for row in await told(run, "parked")] == ["llm"]
    assert await told(run, "retry") == []


@pytest.mark.parametrize("has_lock", [False, True])
@pytest.mark.parametrize("is_cold", [False, True])
async def test_who_is_parked_as_it_begins_has_spent_no_token(stages: Any, has_lock: bool, is_cold: bool) -> None:
    """One token in ten minutes: were it spent by the attempt that did not begin, the run would wait for the next."""
    limits = [Limit("desks", places=1), Limit("calls", rate="1/10m")]
    stage = await stages(limits=limits, has_lock=has_lock, is_cold=is_cold)
    stage.model.is_down = True
    stage.dependencies.breaker("llm").open("planted")
    first = await stage.lab.start("answer", "why")
    await stage.lab.skip(20)
    assert [row["on"] for row in await told(first, "parked")] == ["llm"]
    assert await told(first, "place-granted") == []
    stage.model.is_down = False
    await stage.lab.skip(60)
    assert ((await first.refresh()).state, first.data["answer"]) == ("done", "why!")
    assert [row["limit"] for row in await told(first, "place-granted")] == ["desks", "calls"]

    stage.dependencies.breaker("llm").open("planted again")
    second = await stage.lab.start("answer", "and")
    await stage.lab.skip(120)
    assert [row["on"] for row in await told(second, "parked")] == ["llm"]
    assert (await second.refresh()).status == "waiting", "its dependency is back, and the token is not"
    await stage.lab.skip(600)
    assert (await second.refresh()).state == "done"


async def test_its_lock_is_for_others_meanwhile(stages: Any) -> None:
    stage = await stages(has_lock=True)
    await stage.run_into_the_outage()
    await stage.lab.settle()
    await stage.lab.skip(3)
    async with stage.lab.engine.lock("desk", "one", user="ana", wait_max_s=0):
        stage.model.is_down = False
        await stage.lab.skip(30)
    await stage.lab.settle()


async def test_many_parked_runs_drain_without_making_it_fall_again(stages: Any) -> None:
    stage = await stages()
    runs = await stage.run_into_the_outage(200)
    await stage.lab.settle()
    await stage.lab.skip(120)
    assert {run.status for run in [await run.refresh() for run in runs]} == {"waiting"}
    opened = stage.dependencies.breaker("llm").look().generation
    stage.model.is_down = False
    await stage.lab.skip(90)
    assert {run.state for run in [await run.refresh() for run in runs]} == {"done"}
    breaker = stage.dependencies.breaker("llm").look()
    assert (breaker.state, breaker.generation) == ("closed", opened + 2), "half-open, then closed, and no more"
    assert max([len(await told(run, "parked")) for run in runs]) == 1


async def test_without_a_probe_one_parked_run_goes_first(stages: Any) -> None:
    stage = await stages(has_probe=False)
    runs = await stage.run_into_the_outage(20)
    await stage.lab.settle()
    await stage.lab.skip(60)
    calls = stage.model.calls
    await stage.lab.skip(120)
    assert 1 <= stage.model.calls - calls <= 120 / 5 + 1, "one at a time, when the breaker's wait is over"
    stage.model.is_down = False
    await stage.lab.skip(120)
    assert {run.state for run in [await run.refresh() for run in runs]} == {"done"}


async def test_a_damaged_run_does_not_keep_the_parked_ones_behind_it(stages: Any) -> None:
    stage = await stages()
    damaged = Key("main", "ana", RUN, "damaged")
    put = Put(
        key=damaged, body=b"{}", expect=ABSENT, status="waiting", due=1.0, queue="answer@1", labels={PARKED: "llm"}
    )  # fmt: skip
    runs = await stage.run_into_the_outage(3)
    await stage.lab.skip(10)
    await stage.store.commit(Scope.of_user("main", "ana"), Change(change_id="damage", writes=(put,)))
    stage.model.is_down = False
    await stage.lab.skip(25)  # before any of them looks by itself
    assert {run.state for run in [await run.refresh() for run in runs]} == {"done"}
    gone = Delete(key=damaged, expect=1)
    await stage.store.commit(Scope.of_user("main", "ana"), Change(change_id="repair", writes=(gone,)))


async def test_a_parked_run_outlives_its_process(stages: Any) -> None:
    stage = await stages()
    (run,) = await stage.run_into_the_outage()
    await stage.lab.settle()
    await stage.lab.skip(3)
    stage.model.is_down = False
    await stage.lab.restart()
    await stage.lab.skip(60)
    assert (await run.refresh()).state == "done"
    assert stage.world.calls == {"prepare": 1}


async def test_a_parked_run_can_be_cancelled_and_resumed_by_hand(stages: Any) -> None:
    stage = await stages()
    runs = await stage.run_into_the_outage(2)
    await stage.lab.settle()
    await stage.lab.skip(10)
    await runs[0].cancel(by="ana")
    await runs[1].pause(by="ana")
    await stage.lab.settle()
    assert ((await runs[0].refresh()).status, (await runs[1].refresh()).status) == ("cancelled", "paused")
    stage.model.is_down = False
    await stage.lab.skip(60)
    await runs[1].resume(by="ana")
    await stage.lab.settle()
    assert (await runs[1].refresh()).state == "done"


async def test_an_error_of_its_own_is_a_failure_as_ever(stages: Any) -> None:
    clock = VirtualClock()
    dependencies = Dependencies(Dependency(name="llm", kind="llm", options=QUICK), clock=clock)
    workflow = Workflow("broken", data=dict, retry=Retry(attempts_max=2, jitter=0))

    @workflow.state("think", start=True, to="done", needs=["llm"])
    async def think(ctx: RunContext) -> None:
        raise RuntimeError("my own")

    workflow.final("done")
    async with Lab(workflow, clock=clock, store=MemoryStore(clock=clock), dependencies=dependencies) as lab:
        run = await lab.start("broken", None)
        await lab.settle()
        await lab.skip(3)
        assert (await run.refresh()).status == "failed"
        assert await told(run, "parked") == []


@pytest.mark.parametrize(
    ("dependencies", "message"),
    [
        (None, r"state 'think' needs 'lmm', but there are no dependencies; pass dependencies="),
        (Dependencies(Dependency(name="llm")), r"state 'think' needs 'lmm', which is not declared; there are llm"),
    ],
)
async def test_a_need_that_nobody_declared_is_refused_at_the_start(
    dependencies: Dependencies | None, message: str
) -> None:
    workflow = Workflow("answer", data=dict)

    @workflow.state("think", start=True, to="done", needs=["lmm"])
    async def think(ctx: RunContext) -> None: ...

    workflow.final("done")
    with pytest.raises(InvalidDefinition, match=message):
        async with Engine("memory:", workflow, dependencies=dependencies):
            pass


def test_one_text_is_no_list_of_needs() -> None:
    workflow = Workflow("answer", data=dict)
    with pytest.raises(InvalidDefinition, match=r'such as \["llm"\], saw one text'):

        @workflow.state("think", start=True, to="done", needs="llm")
        async def think(ctx: RunContext) -> None: ...


async def test_an_engine_takes_them_from_its_workflows_and_refuses_two_kinds() -> None:
    one, other = (Dependencies(Dependency(name="llm")) for _ in range(2))
    workflows = [
        Workflow(name, data=dict, dependencies=given) for name, given in (("a", one), ("b", one), ("c", other))
    ]
    for workflow in workflows:

        @workflow.state("think", start=True, to="done", needs=["llm"])
        async def think(ctx: RunContext) -> None: ...

        workflow.final("done")
    async with Engine("memory:", *workflows[:2]) as engine:
        assert engine.dependencies is one
        assert (await (await engine.start("a")).result()) == {}
    with pytest.raises(InvalidDefinition, match="expected the same dependencies for all workflows, saw 2"):
        Engine("memory:", *workflows)
