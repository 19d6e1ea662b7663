"""An attempt that was cut short by the end of its process begins anew, with its whole time."""

from __future__ import annotations

from holdfast import Retry, RunContext, Workflow
from tests.engine.labs import ON_MEMORY, OpenLab, World


@ON_MEMORY
async def test_a_time_in_which_nobody_worked_is_not_the_attempts(open_lab: OpenLab) -> None:
    world = World()
    workflow = Workflow("flow", retry=Retry(attempts_max=1))

    @workflow.state("work", start=True, to="end", timeout_s=10)
    async def work(ctx: RunContext) -> None:
        world.do(f"attempt {ctx.attempt}")
        await ctx.sleep(8)

    workflow.final("end")
    lab = await open_lab(workflow)
    await lab.start("flow", id="T")
    await lab.skip("4s")
    await lab.restart(works=False)
    await lab.skip("1h")
    await lab.restart(works=True)
    await lab.skip("9s")
    assert ((await lab.client.get("T")).status, world.calls) == ("done", {"attempt 1": 2})


@ON_MEMORY
async def test_an_attempt_begun_anew_still_runs_out_of_time(open_lab: OpenLab) -> None:
    workflow = Workflow("flow", retry=Retry(attempts_max=1))

    @workflow.state("work", start=True, to="end", timeout_s=10)
    async def work(ctx: RunContext) -> None:
        await ctx.sleep(1000)

    workflow.final("end")
    lab = await open_lab(workflow)
    await lab.start("flow", id="T")
    await lab.skip("4s")
    await lab.restart()
    await lab.skip("9s")
    assert (await lab.client.get("T")).status == "running"
    await lab.skip("2s")
    run = await lab.client.get("T")
    assert (run.status, run.run.reason) == ("failed", "Timeout: work took longer than 10 s")
