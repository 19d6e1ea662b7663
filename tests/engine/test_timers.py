"""Time: waits of days, deadlines of attempts and of whole runs, and durations that are merely unusual."""

from __future__ import annotations

import asyncio

from holdfast import Retry, RunContext, Workflow
from tests.engine.journal import moves, told
from tests.engine.labs import ON_MEMORY, OpenLab, nothing


def waiting(after: str) -> Workflow:
    workflow = Workflow("patient")
    workflow.add_state("ask", nothing, start=True, to="review")
    workflow.wait("review", on={"approve": "approved"}, after={after: "escalated"})
    workflow.final("approved", "escalated")
    return workflow


@ON_MEMORY
async def test_a_wait_of_48_hours_takes_a_moment_and_holds_no_task(open_lab: OpenLab) -> None:
    lab = await open_lab(waiting("48h"))
    idle = len(asyncio.all_tasks())
    run = await lab.start("patient")
    began = asyncio.get_running_loop().time()
    await lab.skip("47h59m")
    assert (await run.refresh()).state == "review"
    assert lab.handlers == []
    assert len(lab.engine.inside.crew) == 0, "no actor"
    assert len(asyncio.all_tasks()) == idle + 1, "one alarm for all runs together"
    await lab.skip("1m")
    assert asyncio.get_running_loop().time() - began < 5, "a moment, and where other tests have both processors a few"
    assert (await run.refresh()).state == "escalated"
    assert (await moves(run))[-1] == "review -timeout-> escalated"


@ON_MEMORY
async def test_a_thousand_waiting_runs_hold_one_task(open_lab: OpenLab) -> None:
    lab = await open_lab(waiting("48h"))
    idle = len(asyncio.all_tasks())
    for _ in range(1000):
        await lab.start("patient")
    await lab.settle()
    assert len(asyncio.all_tasks()) == idle + 1
    await lab.skip("48h")
    done, _ = await lab.client.runs(statuses=("done",), limit=1000)
    assert len(done) == 1000


async def test_a_timer_fires_once_across_a_restart_that_comes_too_late(open_lab: OpenLab) -> None:
    lab = await open_lab(waiting("10s"))
    await lab.start("patient", id="T")
    await lab.settle()
    await lab.restart(works=False)
    lab.clock.advance_to(lab.clock.time_s() + 3600)
    await lab.restart(works=True)
    await lab.settle()
    run = await lab.client.get("T")
    assert [move for move in await moves(run) if "timeout" in move] == ["review -timeout-> escalated"]


async def test_an_attempt_that_takes_too_long_is_ended_and_tried_again(open_lab: OpenLab) -> None:
    ended: list[int] = []
    workflow = Workflow("slow")

    @workflow.state("fetch", start=True, to="end", timeout_s=10, retry=Retry(first_s=2))
    async def fetch(ctx: RunContext) -> None:
        try:
            await ctx.sleep(60 if ctx.attempt == 1 else 1)
        finally:
            ended.append(ctx.attempt)

    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("slow")
    await lab.skip("9s")
    assert ended == []
    await lab.skip("1s")
    assert ended == [1]
    assert (await run.refresh()).run.main_state == "error_handling"
    await lab.skip("3s")
    assert (await run.refresh()).state == "end"
    assert ended == [1, 2]
    assert await moves(run) == [
        "-start-> fetch",
        "fetch -error-> error_handling:error_detection",
        "error_handling:error_detection -evaluate-> error_handling:retry_evaluation",
        "error_handling:retry_evaluation -retry-> error_handling:retry",
        "error_handling:retry -retry-> fetch",
        "fetch -fetch.done-> end",
    ]


async def test_an_sla_breach_is_told_and_the_run_goes_on(open_lab: OpenLab) -> None:
    workflow = Workflow("steady")

    @workflow.state("build", start=True, to="end", sla="3s")
    async def build(ctx: RunContext) -> None:
        await ctx.sleep(5)

    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("steady")
    await lab.skip("4s")
    assert ((await run.refresh()).run.alert_level, run.state, len(lab.handlers)) == (1, "build", 1)
    await lab.skip("1s")
    assert (await run.refresh()).state == "end"
    (breach,) = await told(run, "sla-breached")
    assert (breach["state"], breach["alert_level"]) == ("build", 1)


async def test_a_wait_breaches_its_sla_once_and_goes_on_waiting(open_lab: OpenLab) -> None:
    workflow = Workflow("steady")
    workflow.wait("review", start=True, on={"approve": "end"}, after={"9s": "end"}, sla="3s")
    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("steady")
    await lab.skip("8s")
    assert ((await run.refresh()).run.alert_level, run.status) == (1, "waiting")
    assert len(await told(run, "sla-breached")) == 1
    await lab.skip("1s")
    assert (await run.refresh()).state == "end"


async def test_a_run_past_its_deadline_is_escalated(open_lab: OpenLab) -> None:
    workflow = Workflow("bounded", deadline="10s", escalate_to="human")
    workflow.add_state("ask", nothing, start=True, to="review")
    workflow.wait("review", on={"approve": "end"})
    workflow.wait("human", on={"close": "end"})
    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("bounded")
    await lab.skip("9s")
    assert (await run.refresh()).state == "review"
    await lab.skip("1s")
    await run.refresh()
    assert (run.state, run.run.escalated, run.run.alert_level) == ("human", True, 1)
    assert (await moves(run))[-2:] == [
        "review -deadline-> error_handling:escalation",
        "error_handling:escalation -escalation-> human",
    ]
    await lab.skip("30s")
    assert len(await moves(run)) == 4, "once"


async def test_a_run_past_its_deadline_with_nowhere_to_go_stops_as_failed(open_lab: OpenLab) -> None:
    ended: list[str] = []
    workflow = Workflow("bounded", deadline="10s")

    @workflow.state("work", start=True, to="end")
    async def work(ctx: RunContext) -> None:
        try:
            await ctx.sleep(30)
        finally:
            ended.append("ended")

    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("bounded")
    await lab.skip("10s")
    assert (await run.refresh()).status == "failed"
    assert run.run.reason == "the run passed its deadline"
    assert ended == ["ended"], "its handler is not left running"
    await lab.skip("30s")
    assert (await run.refresh()).status == "failed"
