"""A state that cannot succeed and the one that mends it, which is itself held up, or clumsy at its first attempt."""

from __future__ import annotations

from holdfast import ErrorType, Retry, RunContext, Workflow, WorkflowError
from tests.engine.crash.programs.world import World

world = World.of_arguments()
wf = Workflow("rescue", data=dict)


@wf.state("work", start=True, to="done", on_error="mending")
async def work(ctx: RunContext) -> None:
    async def fail(*, key: str) -> None:
        await world.act("break", key=key)
        raise WorkflowError("it is broken for good", error_type=ErrorType.PERMANENT)

    await ctx.step("break", fail)


@wf.state("mending", to="mended", retry=Retry(attempts_max=2, first_s=0.01))
async def mend(ctx: RunContext) -> None:
    async def mend_it(*, key: str) -> None:
        await world.act("mend", key=key)
        if "clumsy" in world.plan.holds and ctx.attempt == 1:
            raise ConnectionError("the tool slipped")

    await ctx.step("mend", mend_it)


wf.final("done", "mended")

if __name__ == "__main__":
    world.play(wf)
