"""Runs change hands: callers that go away, notices that come late, doors that work on nothing; no run is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from holdfast import Engine, InvalidTransition, RunContext, Unavailable, Workflow
from holdfast.store.contract.records import Change, Claim, Commit, Page, Query, Record, Scope
from holdfast.store.memory import MemoryStore
from holdfast.testing import Gate, Lab, VirtualClock
from holdfast.workflow.model.run import RUN, SIGNAL
from holdfast.workflow.process.notices import leave_notice
from tests.engine.labs import OpenLab, World


def job(world: World, gate: Gate | None = None) -> Workflow:
    workflow = Workflow("job", cancel_to="clean")

    @workflow.state("work", start=True, to="end", on={"skip": "end"})
    async def work(ctx: RunContext) -> None:
        if gate is not None:
            await gate.wait()

    @workflow.state("clean", to="gone")
    async def clean(ctx: RunContext) -> None:
        world.do("clean")

    workflow.final("end", "gone")
    return workflow


class SlowStore(MemoryStore):
    """Commits, and answers the commits of runs only once the test lets it."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock=clock)
        self.answers = Gate(clock)
        self.answers.open()
        self.asked = asyncio.Event()

    async def commit(self, scope: Scope, change: Change) -> Commit:
        commit = await super().commit(scope, change)
        if any(write.key.kind == RUN for write in change.writes):
            self.asked.set()
            await self.answers.wait()
        return commit


# -- callers that go away ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["start", "cancel"])
async def test_a_run_is_worked_on_though_its_caller_was_cancelled(call: str) -> None:
    world, clock = World(), VirtualClock()
    store = SlowStore(clock)
    async with Lab(clock=clock, store=store) as lab:
        gate = lab.gate()
        await lab.restart(job(world, gate))
        if call == "cancel":
            await lab.start("job", id="T")
            await lab.settle()
        store.answers = lab.gate()
        store.asked.clear()
        door = lab.client
        caller = asyncio.ensure_future(door.start("job", id="T") if call == "start" else door.cancel("T"))
        await store.asked.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        store.answers.open()
        gate.open()
        await lab.settle()
        run = await lab.client.get("T")
        assert (run.state, world.calls["clean"]) == (("end", 0) if call == "start" else ("gone", 1))
    await store.close()


async def test_a_caller_hears_that_the_engine_was_closed_under_his_call() -> None:
    clock = VirtualClock()
    store = SlowStore(clock)
    engine = Engine(store, job(World()), clock=clock)
    async with engine:
        store.answers = Gate(clock)
        caller = asyncio.ensure_future(engine.start("job", id="T"))
        await store.asked.wait()
    with pytest.raises(Unavailable, match="the engine was closed meanwhile"):
        await caller
    store.answers.open()
    async with Lab(job(World()), clock=clock, store=store, user="local") as lab:
        await lab.settle()
        assert (await lab.client.get("T")).state == "end"
    await store.close()


# -- words that come late ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("age", [0, 1])
async def test_word_of_a_loss_that_is_over_ends_nothing(open_lab: OpenLab, age: int) -> None:
    lab = await open_lab()
    gate = lab.gate()
    await lab.restart(job(World(), gate))
    run = await lab.start("job")
    await lab.settle()
    inside = lab.engine.inside
    actor = inside.crew.find(run.id)
    assert actor is not None
    await leave_notice(inside.runtime, inside.runtime.process_id, run.id, "lost", epoch=actor.epoch - age)
    await inside.recovery._heed()
    inside.crew.lose(run.id, epoch=actor.epoch - age)
    assert not actor.is_lost
    gate.open()
    await lab.settle()
    assert (await run.refresh()).state == "end"


async def test_an_actor_that_was_told_of_a_loss_by_mistake_is_replaced(open_lab: OpenLab) -> None:
    lab = await open_lab()
    gate = lab.gate()
    await lab.restart(job(World(), gate))
    run = await lab.start("job")
    await lab.settle()
    actor = lab.engine.inside.crew.find(run.id)
    assert actor is not None
    actor.lose()
    gate.open()
    await lab.skip("2s")
    assert (await run.refresh()).state == "end"


# -- signals that nobody will judge -----------------------------------------------------------------------------


async def statuses(lab: Lab) -> list[str]:
    page = await lab.store.scan(Scope.system(), Query(kind=SIGNAL), limit=10)
    return [record.status for record in page.records]


def two_waits() -> Workflow:
    workflow = Workflow("waits")
    workflow.wait("first", start=True, on={"go": "second", "stop": "end"})
    workflow.wait("second", on={"ok": "end"})
    workflow.final("end")
    return workflow


async def test_who_sent_to_a_run_that_ends_without_judging_hears_it(open_lab: OpenLab) -> None:
    lab = await open_lab(two_waits())
    run = await lab.start("waits")
    await lab.settle()
    assert await lab.client.send(run.id, "ok", by="ana", state="second", visit=1, signal_id="one") == ""
    await run.send("stop", by="bob")
    await lab.settle()
    assert sorted(await statuses(lab)) == ["refused", "taken"]
    with pytest.raises(InvalidTransition, match="has ended in end; it takes no 'ok'"):
        await lab.client.send(run.id, "ok", by="ana", state="second", visit=1, signal_id="one")


async def test_a_run_that_ends_by_its_own_work_refuses_what_came_early(open_lab: OpenLab) -> None:
    lab = await open_lab()
    gate = lab.gate()
    workflow = Workflow("job")

    @workflow.state("work", start=True, to={"done": "end", "ask": "open"})
    async def work(ctx: RunContext) -> None:
        await gate.wait()

    workflow.wait("open", on={"ok": "end"})
    workflow.final("end")
    await lab.restart(workflow)
    run = await lab.start("job")
    await lab.settle()
    assert await lab.client.send(run.id, "ok", by="ana", state="open", visit=1) == ""
    gate.open()
    await lab.settle()
    assert await statuses(lab) == ["refused"]


class Letting(MemoryStore):
    """Does `first`, once, as an owner lets a run go, before that is done."""

    first: Callable[[], Awaitable[None]] | None = None

    async def claim(self, scope: Scope, claim: Claim) -> list[Record]:
        if claim.owner == "" and (first := self.first) is not None:
            self.first = None
            await first()
        return await super().claim(scope, claim)


async def test_a_signal_that_comes_as_its_run_is_let_go_is_judged_at_once() -> None:
    """The run was taken up for nothing, so it is given back without a decision; the owner has looked into the inbox
    for the last time, and the sender, who found an owner, judges nothing himself."""
    workflow = Workflow("asked")
    workflow.wait("open", start=True, on={"ok": "end"})
    workflow.final("end")
    clock = VirtualClock()
    store = Letting(clock=clock)
    async with Lab(workflow, clock=clock, store=store) as lab:
        run = await lab.start("asked")
        sent: list[str] = []

        async def send() -> None:
            sent.append(await lab.client.send(run.id, "ok", by="ana", state="open", visit=1))

        async def first() -> None:
            lab.engine.inside.runtime.tasks.start(send(), name="send")
            while not (await store.scan(Scope.system(), Query(kind=SIGNAL))).records:  # noqa: ASYNC110
                await asyncio.sleep(0)

        store.first = first
        assert await lab.engine.inside.recovery.claim_one(run.run)
        await lab.settle()
        assert store.first is None, "the run was never let go"
        assert (sent, (await run.refresh()).state) == (["end"], "end")


class SlowToAnswer(MemoryStore):
    """Does `first`, once, after it has looked into the inbox of the run `of` while nobody owns it, and answers then."""

    first: Callable[[], Awaitable[None]] | None = None
    of = ""

    async def scan(self, scope: Scope, query: Query, *, after: str | None = None, limit: int = 100) -> Page:
        page = await super().scan(scope, query, after=after, limit=limit)
        if self.first is not None and query.kind == SIGNAL and query.prefix == f"{self.of}/":
            (record,) = (await self.scan(Scope.system(), Query(kind=RUN, prefix=self.of))).records
            if not record.owner:
                first, self.first = self.first, None
                await first()
        return page


async def test_a_childs_end_that_comes_while_its_parent_looks_for_the_last_time_is_heard() -> None:
    """The parent was let go, and its last look into the inbox is answered late, with what was there before its child
    ended. Whoever ended the child found the parent's actor alive still, and told it."""
    child, parent = Workflow("build", data=dict), Workflow("release", data=dict)
    child.wait("open", start=True, on={"good": "built"})
    child.final("built")
    parent.child("build", workflow="build", start=True, to={"built": "shipped"})
    parent.final("shipped")
    clock = VirtualClock()
    store = SlowToAnswer(clock=clock)
    async with Lab(parent, child, clock=clock, store=store) as lab:
        run = await lab.start("release")
        await lab.settle()
        ((only,), _) = await lab.client.runs(labels={"parent": run.id})

        async def first() -> None:
            await lab.client.send(only.id, "good", by="ana", state="open", visit=1)
            for _ in range(100):  # until the parent's actor was told, and has not come to it
                await asyncio.sleep(0)

        store.of, store.first = run.id, first
        assert await lab.engine.inside.recovery.claim_one((await run.refresh()).run)
        await lab.settle()
        assert store.first is None, "it never looked once the run was let go"
        assert (await run.refresh()).state == "shipped"


async def test_a_signal_is_left_only_with_the_owner_it_was_meant_for() -> None:
    """A claim raises the epoch and not the version: whoever claimed the run since is told, not the one before."""
    seen: list[tuple[int | None, int | None]] = []

    class Watched(MemoryStore):
        async def commit(self, scope: Scope, change: Change) -> Commit:
            if any(write.key.kind == SIGNAL for write in change.writes):
                seen.extend((require.version, require.epoch) for require in change.requires)
            return await super().commit(scope, change)

    clock = VirtualClock()
    store = Watched(clock=clock)
    async with Lab(two_waits(), clock=clock, store=store) as lab:
        run = await lab.start("waits")
        await lab.settle()
        await lab.client.send(run.id, "ok", by="ana", state="second", visit=1)
        stored = await lab.client.find(run.id)
        assert seen == [(stored.version, stored.epoch)]
    await store.close()


class ShyStore(MemoryStore):
    """Refuses one look into an inbox when told to."""

    is_away = False

    async def scan(self, scope: Scope, query: Query, *, after: str | None = None, limit: int = 100) -> Page:
        if self.is_away and query.kind == SIGNAL:
            self.is_away = False
            raise Unavailable("away for a moment")
        return await super().scan(scope, query, after=after, limit=limit)


async def test_who_could_not_be_told_of_the_end_is_told_by_the_next_sweep() -> None:
    clock = VirtualClock()
    store = ShyStore(clock=clock)
    async with Lab(two_waits(), clock=clock, store=store) as lab:
        run = await lab.start("waits")
        await lab.settle()
        await lab.client.send(run.id, "ok", by="ana", state="second", visit=1)
        store.is_away = True
        assert (await lab.client.cancel(run.id)).run.is_ended, "what was decided is not called into question"
        await lab.skip("2s")
        assert await statuses(lab) == ["refused"]
    await store.close()


@pytest.mark.parametrize("open_lab", ["sqlite"], indirect=True)
async def test_a_door_that_works_on_nothing_leaves_what_came_early_to_a_worker(open_lab: OpenLab) -> None:
    lab = await open_lab(two_waits())
    run = await lab.start("waits")
    await lab.settle()
    async with Engine(lab.store, two_waits(), clock=lab.clock, works=False) as engine:
        door = engine.client("tester")
        assert await door.send(run.id, "ok", by="ana", state="second", visit=1) == ""
        assert await door.send(run.id, "go", by="ana", state="first", visit=1) == "second"
    await lab.skip("2s")
    assert (await run.refresh()).state == "end"
    assert await statuses(lab) == ["taken", "taken"]


async def test_what_came_early_is_judged_once_there_is_a_place(open_lab: OpenLab) -> None:
    lab = await open_lab()
    gate = lab.gate()
    await lab.restart(two_waits(), job(World(), gate), runs_max=1)
    run = await lab.start("waits")
    await lab.settle()
    await lab.start("job")
    await lab.settle()
    assert await lab.client.send(run.id, "ok", by="ana", state="second", visit=1) == ""
    assert await lab.client.send(run.id, "go", by="ana", state="first", visit=1) == "second"
    gate.open()
    await lab.skip("2s")
    assert (await run.refresh()).state == "end"
