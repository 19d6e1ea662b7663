"""What cannot be judged, stored or even told ends in a failure with its reason: no run hangs, and none goes round."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import Corrupt, ErrorType, Fenced, Retry, RunContext, Workflow, WorkflowError
from holdfast.store.contract.records import Change, Commit, Scope
from holdfast.store.memory import MemoryStore
from holdfast.testing import Lab, VirtualClock
from tests.engine.journal import moves, told
from tests.engine.labs import ON_MEMORY, OpenLab, World, nothing

ONCE = Retry(attempts_max=1)


def unnamed(data: dict[str, Any]) -> tuple[str, str]:
    """A lock= that does not work on the data."""
    return ("repository", data["nothing"])


async def fail(ctx: RunContext) -> None:
    raise ValueError("x")


async def refuse(ctx: RunContext) -> None:
    raise WorkflowError("no", error_type=ErrorType.PERMANENT)


# -- what is due ------------------------------------------------------------------------------------------------


@ON_MEMORY
async def test_a_timer_to_a_state_that_cannot_be_entered_stops_a_run_in_back_off(open_lab: OpenLab) -> None:
    workflow = Workflow("job")
    long = Retry(attempts_max=9, first_s=100, cap_s=100)
    workflow.add_state("work", fail, start=True, to="end", after={"10s": "locked"}, retry=long)
    workflow.add_state("locked", nothing, to="end", lock=unnamed)
    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("job")
    await lab.skip("1m")
    assert (await run.refresh()).status == "failed"
    assert "its lock= raised KeyError: 'nothing'" in run.run.reason
    assert [facts["error"] for facts in await told(run, "set-down")] == ["WorkflowError"]
    assert lab.handlers == []


@ON_MEMORY
async def test_a_timer_to_a_state_that_cannot_be_entered_escalates_a_wait(open_lab: OpenLab) -> None:
    workflow = Workflow("job", escalate_to="help")
    workflow.wait("open", start=True, on={"go": "end"}, after={"10s": "locked"})
    workflow.add_state("locked", nothing, to="end", lock=unnamed)
    workflow.wait("help", on={"done": "end"})
    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("job")
    await lab.skip("1m")
    assert (await run.refresh()).state == "help"


@ON_MEMORY
async def test_a_limit_that_new_code_took_away_is_dropped(open_lab: OpenLab) -> None:
    def job(timeout_s: float | None) -> Workflow:
        workflow = Workflow("job")
        workflow.add_state("work", sleep, start=True, to="end", timeout_s=timeout_s)
        workflow.final("end")
        return workflow

    async def sleep(ctx: RunContext) -> None:
        await ctx.sleep(3600)

    lab = await open_lab(job(600))
    await lab.start("job", id="T")
    await lab.settle()
    await lab.restart(job(None))
    await lab.skip("30m")
    run = await lab.client.get("T")
    assert (run.status, run.state) == ("running", "work")
    assert [facts["reason"] for facts in await told(run, "timer-dropped")] == ["the state has no timeout_s any more"]
    await lab.skip("1h")
    assert (await run.refresh()).state == "end"


# -- what handlers produce --------------------------------------------------------------------------------------


async def await_cancelled(ctx: RunContext) -> None:
    task = asyncio.ensure_future(asyncio.sleep(3600))
    task.cancel()
    await task


async def name_odd_file(ctx: RunContext) -> None:
    raise ValueError("no such file: \udcff\0")


async def tell_odd_facts(ctx: RunContext) -> None:
    raise WorkflowError("no", **{"file\udcff": "\udcff"})


async def lose_lease(ctx: RunContext) -> None:
    raise Fenced("lock repository/x: the lease with token 1 was lost; stop writing")


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        (await_cancelled, "CancelledError"),
        (name_odd_file, "ValueError"),
        (tell_odd_facts, "WorkflowError"),
        (lose_lease, "Fenced"),
    ],
)
async def test_whatever_a_handler_raises_is_its_failure(open_lab: OpenLab, handler: Any, kind: str) -> None:
    workflow = Workflow("job", retry=ONCE)
    workflow.add_state("work", handler, start=True, to="end")
    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("job")
    await lab.settle()
    assert (await run.refresh()).status == "failed"
    assert run.run.reason.startswith(kind)
    assert lab.engine.inside.problems == {}


async def test_an_escalation_to_a_state_that_cannot_be_entered_stops_the_run(open_lab: OpenLab) -> None:
    workflow = Workflow("job", escalate_to="help")
    workflow.add_state("work", refuse, start=True, to="end")
    workflow.add_state("help", nothing, to="end", lock=unnamed)
    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("job")
    await lab.settle()
    assert (await run.refresh()).status == "failed"
    assert "its lock= raised KeyError" in run.run.reason
    assert await moves(run) == ["-start-> work"]


async def test_what_is_too_big_to_store_with_its_decision_is_a_failure(open_lab: OpenLab) -> None:
    world = World()
    workflow = Workflow("job", data=dict, retry=ONCE)

    @workflow.state("work", start=True, to="end")
    async def work(ctx: RunContext) -> None:
        world.do("work")
        ctx.data["text"] = "x" * 2**20  # the data alone is small enough, the run around it is not

    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("job")
    await lab.settle()
    assert (await run.refresh()).status == "failed"
    assert run.run.reason.startswith("InvalidInput")


# -- attempts ---------------------------------------------------------------------------------------------------


@ON_MEMORY
async def test_an_attempt_that_was_ended_and_fails_late_does_not_fail_the_next_one(open_lab: OpenLab) -> None:
    lab = await open_lab()
    late = lab.gate()
    workflow = Workflow("job", retry=Retry(attempts_max=3, first_s=5))

    @workflow.state("work", start=True, to="end", timeout_s=10)
    async def work(ctx: RunContext) -> None:
        if ctx.attempt > 1:
            await ctx.sleep(8)
            return
        try:
            await ctx.sleep(3600)
        finally:
            await late.wait()  # cleaning up takes longer than the back-off
            raise ValueError("late")

    workflow.final("end")
    await lab.restart(workflow)
    run = await lab.start("job")
    await lab.skip("16s")
    assert (await run.refresh()).run.leaves["work"].attempts == 1
    late.open()
    await lab.settle()
    assert (await run.refresh()).run.leaves["work"].attempts == 1, "the second attempt is under way"
    await lab.skip("8s")
    assert (await run.refresh()).state == "end"


# -- the run ----------------------------------------------------------------------------------------------------


class OddStore(MemoryStore):
    """Finds what it should write beside contradicted whenever a run is about to end."""

    async def commit(self, scope: Scope, change: Change) -> Commit:
        if any(b'"to":"end"' in event.body for event in change.events):
            raise Corrupt("run: its journal says something else")
        return await super().commit(scope, change)


async def test_an_error_that_would_come_again_everywhere_ends_the_run_with_its_reason() -> None:
    world, clock = World(), VirtualClock()
    workflow = Workflow("job")

    @workflow.state("work", start=True, to="end")
    async def work(ctx: RunContext) -> None:
        world.do("work")

    workflow.final("end")
    store = OddStore(clock=clock)
    async with Lab(workflow, clock=clock, store=store) as lab:
        run = await lab.start("job")
        await lab.skip("1m")
        assert (await run.refresh()).status == "failed"
        assert run.run.reason == "Corrupt: run: its journal says something else"
        assert (len(lab.engine.inside.crew), world.calls["work"]) == (0, 1)
    await store.close()
