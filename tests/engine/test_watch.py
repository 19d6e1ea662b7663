"""When a store that was away is back, recovery sweeps at once: not at its next try, hint or due time."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from holdfast import Engine, RunContext, Status, Workflow, health_of
from holdfast.store.memory import MemoryStore
from holdfast.store.sqlite.store import SqliteStore
from holdfast.testing import Fault, FaultyStore, Lab, VirtualClock
from holdfast.workflow.process.watch import LOOK_S
from tests.engine.crash.processes import LIMIT_S, until


def timed(after: str = "10s") -> Workflow:
    workflow = Workflow("timed")
    workflow.wait("rest", start=True, on={"go": "end"}, after={after: "end"})
    workflow.final("end")
    return workflow


@pytest.mark.parametrize("back_at_s", [10.05, 17.37, 3600.99])
async def test_a_run_whose_time_came_meanwhile_goes_on_when_the_store_is_back(back_at_s: float) -> None:
    """The sweep's own next try would be up to a second later."""
    clock = VirtualClock()
    store = FaultyStore(MemoryStore(clock=clock))
    async with Lab(timed(), clock=clock, store=store) as lab:
        run = await lab.start("timed")
        await lab.skip(5)
        assert health_of(lab.engine).status is Status.GREEN
        store.fall_ill("the cable is out")
        await lab.skip(back_at_s - 5)
        health = health_of(lab.engine)
        assert health.status is Status.RED
        assert {check.name: check.seen for check in health.checks}["store"] == "the cable is out"
        assert store.seen[Fault.REFUSE] > 0
        store.recover()
        await lab.skip(LOOK_S)
        assert (await run.refresh()).status == "done"
        assert health_of(lab.engine).status is Status.GREEN
        assert lab.engine.inside.recovery.watch.returns == 1


async def test_a_run_whose_actor_gave_up_goes_on_when_the_store_is_back() -> None:
    """It is ours, and nobody works on it: no due time, no hint and no signal would find it."""
    clock = VirtualClock()
    store = FaultyStore(MemoryStore(clock=clock))
    workflow = Workflow("work")

    @workflow.state("one", start=True, to={"well": "end", "ill": "ask"})
    async def one(ctx: RunContext) -> str:
        await gate.wait()
        return "well"

    workflow.wait("ask", on={"go": "end"})  # so that there is an inbox, into which the actor looks and fails
    workflow.final("end")
    async with Lab(workflow, clock=clock, store=store) as lab:
        gate = lab.gate()
        run = await lab.start("work")
        await lab.settle()
        actor = lab.engine.inside.crew.find(run.id)
        assert actor is not None
        store.fall_ill()
        actor.poke()  # as a notice from another process does
        await lab.skip(30.33)
        assert len(lab.engine.inside.crew) == 0, "its actor gave up"
        store.recover()
        gate.open()
        await lab.skip(LOOK_S)
        assert (await run.refresh()).status == "done"


async def test_nothing_is_looked_at_while_all_is_well() -> None:
    async with Lab(timed("1h")) as lab:
        await lab.start("timed")
        await lab.skip("30m")
        calls = dict(lab.calls)
        await lab.skip("20m")
        assert dict(lab.calls) == calls
        assert not lab.engine.inside.recovery.watch.is_watching


async def test_every_return_is_noticed_and_the_watch_ends_with_it() -> None:
    clock = VirtualClock()
    store = FaultyStore(MemoryStore(clock=clock))
    async with Lab(timed("1h"), clock=clock, store=store) as lab:
        recovery = lab.engine.inside.recovery
        for times in (1, 2, 3):
            store.fall_ill()
            recovery.nudge()
            await lab.skip(7.7)
            assert recovery.watch.is_watching
            sweeps = recovery.sweeps
            store.recover()
            await lab.skip(LOOK_S)
            assert (recovery.watch.returns, recovery.watch.is_watching) == (times, False)
            assert recovery.sweeps > sweeps
            assert recovery.last_problem is None


async def test_a_real_file_that_could_not_be_written_for_a_while(tmp_path: Path) -> None:
    """Another program locks it over a run's due time: red, then back, and the run goes on by itself."""
    store = SqliteStore(tmp_path / "runs.db", busy_timeout_s=0.05)
    async with Engine(store, timed("1s")) as engine:
        run = await engine.start("timed")
        recovery = engine.inside.recovery
        with contextlib.closing(sqlite3.connect(tmp_path / "runs.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await until(lambda: recovery.last_problem is not None, "a sweep that fails")
            assert health_of(engine).status is Status.RED
            assert "locked by another program" in (store.ailment() or "")
            assert recovery.watch.is_watching
            assert (await run.refresh()).status == "waiting", "it can still be read"
            other.execute("ROLLBACK")
        await run.result(timeout_s=LIMIT_S)
        await until(lambda: recovery.watch.returns > 0, "a watch that ends")
        assert health_of(engine).status is Status.GREEN
    await store.close()


async def test_a_claim_that_takes_nothing_proves_no_health(tmp_path: Path) -> None:
    """An empty transaction succeeds on a full disk, too."""
    store = SqliteStore(tmp_path / "runs.db", busy_timeout_s=0.05)
    async with Engine(store, timed()) as engine:
        await engine.recover_active_workflows()
        store._writer._trouble = "the disk is full"  # type: ignore[union-attr]
        assert await engine.recover_active_workflows() == []
        assert store.ailment() == "the disk is full"
        await engine.start("timed")
        assert store.ailment() is None
    await store.close()
