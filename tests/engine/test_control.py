"""Cancel, pause and resume, of queued, running and waiting runs: committed first, then obeyed."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import InvalidTransition, Rejected, RunContext, Workflow
from holdfast.testing import Gate, Lab
from tests.engine.journal import facts, moves, told
from tests.engine.labs import ON_ALL, OpenLab, World

pytestmark = ON_ALL


def job(lab: Lab, world: World, gate: Gate, *, cancel_to: str | None = None) -> Workflow:
    """Works until the gate opens, then waits; a handler that is stopped looks how its run stands by then."""
    workflow = Workflow("job", cancel_to=cancel_to)

    @workflow.state("work", start=True, to="review")
    async def work(ctx: RunContext) -> None:
        await ctx.step("first", world.do, "first")
        try:
            world.do("working")
            await gate.wait()
        except asyncio.CancelledError:
            world.do(f"stopped while {(await lab.client.get(ctx.run_id)).status}")
            raise

    workflow.wait("review", on={"go": "end"}, after={"6s": "late"})
    workflow.final("end", "late")
    return workflow


async def opened(open_lab: OpenLab, world: World, **options: int) -> tuple[Lab, Gate]:
    lab = await open_lab(**options)
    gate = lab.gate()
    await lab.restart(job(lab, world, gate))
    return lab, gate


async def test_a_running_run_is_cancelled_by_a_commit_and_then_its_handler_ends(open_lab: OpenLab) -> None:
    world = World()
    lab, gate = await opened(open_lab, world)
    run = await lab.start("job")
    await lab.settle()
    await run.cancel(by="ana", reason="wrong ticket")
    await lab.settle()
    assert world.calls == {"first": 1, "working": 1, "stopped while cancelled": 1}
    assert ((await run.refresh()).status, run.state, run.run.reason) == ("cancelled", "cancelled", "wrong ticket")
    last = facts((await run.history())[-1])
    assert (last["trigger"], last["agent"], last["metadata"]) == ("cancel", "ana", {"reason": "wrong ticket"})
    with pytest.raises(Rejected, match="wrong ticket"):
        await run.result()
    gate.open()
    await lab.settle()
    assert len(await moves(run)) == 2


async def test_a_running_run_is_paused_and_resumed_where_it_was(open_lab: OpenLab) -> None:
    world = World()
    lab, gate = await opened(open_lab, world)
    run = await lab.start("job")
    await lab.settle()
    await run.pause(by="ops", reason="maintenance")
    await lab.skip("5s")
    assert ((await run.refresh()).status, run.state, lab.handlers) == ("paused", "work", [])
    assert world.calls["stopped while paused"] == 1
    await run.resume(by="ops")
    await lab.settle()
    assert ((await run.refresh()).status, world.calls["first"], world.calls["working"]) == ("running", 1, 2)
    gate.open()
    await lab.settle()
    assert (await run.refresh()).state == "review"
    assert [event.name for event in await run.history()] == ["transition", "paused", "resumed", "transition"]
    assert await told(run, "paused") == [{"reason": "maintenance"}]


async def test_a_waiting_run_is_cancelled(open_lab: OpenLab) -> None:
    lab, gate = await opened(open_lab, World())
    gate.open()
    run = await (await lab.start("job")).reach("review")
    await run.cancel(by="ana")
    assert run.status == "cancelled"
    await lab.skip("7s")
    assert (await moves(run))[-1] == "review -cancel-> cancelled"


async def test_time_goes_on_for_a_paused_wait_but_fires_only_once_it_is_resumed(open_lab: OpenLab) -> None:
    lab, gate = await opened(open_lab, World())
    gate.open()
    run = await (await lab.start("job")).reach("review")
    await run.pause(by="ops")
    await lab.skip("8s")
    assert ((await run.refresh()).status, run.state) == ("paused", "review")
    with pytest.raises(InvalidTransition, match="is paused"):
        await run.pause(by="ops")
    await run.resume(by="ops")
    await lab.settle()
    assert (await run.refresh()).state == "late"


async def test_a_paused_run_stays_paused_over_a_restart(open_lab: OpenLab) -> None:
    world = World()
    lab, gate = await opened(open_lab, world)
    run = await lab.start("job", id="T")
    await lab.settle()
    await run.pause(by="ops")
    await lab.restart()
    gate.open()
    await lab.skip("1s")
    run = await lab.client.get("T")
    assert (run.status, world.calls["working"]) == ("paused", 1)
    await run.resume(by="ops")
    await lab.settle()
    assert (await run.refresh()).state == "review"


async def test_a_queued_run_waits_for_a_place(open_lab: OpenLab) -> None:
    world = World()
    lab, gate = await opened(open_lab, world, runs_max=1)
    first, second = await lab.start("job"), await lab.start("job")
    await lab.settle()
    assert world.calls["working"] == 1
    assert (await second.refresh()).status == "running"
    gate.open()
    await lab.settle()
    assert ((await first.refresh()).state, (await second.refresh()).state) == ("review", "review")


async def test_a_queued_run_is_cancelled_before_it_ran(open_lab: OpenLab) -> None:
    world = World()
    lab, gate = await opened(open_lab, world, runs_max=1)
    await lab.start("job")
    second = await lab.start("job")
    await lab.settle()
    await second.cancel(by="ana")
    gate.open()
    await lab.settle()
    assert ((await second.refresh()).status, world.calls["working"]) == ("cancelled", 1)


async def test_a_queued_run_is_paused_and_keeps_its_turn_for_later(open_lab: OpenLab) -> None:
    world = World()
    lab, gate = await opened(open_lab, world, runs_max=1)
    await lab.start("job")
    second = await lab.start("job")
    await lab.settle()
    await second.pause(by="ops")
    gate.open()
    await lab.settle()
    assert ((await second.refresh()).status, world.calls["working"]) == ("paused", 1)
    await second.resume(by="ops")
    await lab.settle()
    assert ((await second.refresh()).state, world.calls["working"]) == ("review", 2)


async def test_cancelling_leads_through_the_clean_up_state(open_lab: OpenLab) -> None:
    world = World()
    lab = await open_lab()
    gate = lab.gate()
    workflow = job(lab, world, gate, cancel_to="clean_up")

    @workflow.state("clean_up", to="removed")
    async def clean_up(ctx: RunContext) -> None:
        await ctx.step("remove", world.do, "removed")

    workflow.final("removed")
    await lab.restart(workflow)
    run = await lab.start("job")
    await lab.settle()
    await run.cancel(by="ana", reason="not needed")
    await lab.settle()
    await run.refresh()
    assert (run.status, run.state, world.calls["removed"]) == ("cancelled", "removed", 1)
    assert await moves(run) == ["-start-> work", "work -cancel-> clean_up", "clean_up -clean_up.done-> removed"]


async def test_a_run_that_has_ended_takes_no_orders(open_lab: OpenLab) -> None:
    lab, gate = await opened(open_lab, World())
    gate.open()
    run = await (await lab.start("job")).reach("review")
    await run.send("go", by="ana")
    for order in (run.cancel, run.pause, run.resume):
        with pytest.raises(InvalidTransition, match="has ended in end"):
            await order(by="ops")
    assert (await run.refresh()).status == "done"


async def test_cancel_and_a_signal_at_one_moment_agree_on_one_end(open_lab: OpenLab) -> None:
    lab, gate = await opened(open_lab, World())
    gate.open()
    run = await (await lab.start("job")).reach("review")
    other = await lab.client.get(run.id)
    answers = await asyncio.gather(run.cancel(by="ana"), other.send("go", by="bob"), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert [type(error) for error in refused] == [InvalidTransition]
    assert len(await moves(run)) == 3
