"""A small workflow with all that the command line meets: a retry, a lock, a review of something, timers, a parked wait.

What becomes of a run is said by its input: "lamp" reaches review, "flaky" waits for a retry, "broken" fails, "slow"
works until it is stopped.
"""

from __future__ import annotations

import asyncio

import msgspec

from holdfast import Engine, ErrorType, Forward, Retry, RunContext, Workflow, WorkflowError

HASH = "3f9a2c41d7e05b6688aa01"
SLOW_STOPPED = asyncio.Event()
"""Set once the handler of a "slow" run was stopped."""


class Order(msgspec.Struct):
    """What a run knows."""

    item: str = ""
    hash: str = ""


workflow = Workflow("shop", data=Order)


@workflow.state("intake.check", start=True, to="intake.fix", retry=Retry(attempts_max=2, first_s=600, cap_s=600))
async def check(ctx: RunContext) -> None:
    """Fails as its input says."""
    ctx.data.item = ctx.input
    if ctx.input == "flaky" and ctx.attempt == 1:
        raise WorkflowError("registry answers 503", error_type=ErrorType.TRANSIENT)
    if ctx.input == "broken":
        raise WorkflowError("no such [item]", error_type=ErrorType.PERMANENT)
    if ctx.input == "slow":
        try:
            await asyncio.Event().wait()
        finally:
            SLOW_STOPPED.set()


@workflow.state("intake.fix", to="review.awaiting", lock=lambda order: ("repository", order.item), sla="30m")
async def fix(ctx: RunContext) -> None:
    """Makes what is judged; another one in each visit."""
    ctx.data.hash = f"{HASH}{ctx.visit}"


workflow.wait(
    "review.awaiting",
    on={
        "approve": Forward("review.checking"),
        "reject": "dropped",
        "request_changes": "intake.fix",
        "park": "review.parked",
    },
    after={"48h": "dropped"},
    about=lambda order: order.hash,
)
workflow.wait("review.checking", on={"approve": "shipping"}, after={"1h": "dropped"})
workflow.wait("review.parked", on={"wake": "review.awaiting"})


@workflow.state("shipping", to="shipped")
async def ship(ctx: RunContext) -> None:
    """Nothing to do: the run passes through."""


workflow.final("shipped", "dropped")


async def fill(url: str, *items: str, user: str = "ana") -> None:
    """Runs INC-0, INC-1, ... of `items` in the store at `url`, each as far as it goes by itself."""
    async with Engine(url, workflow, durable=not url.startswith("redis")) as engine:
        for number, item in enumerate(items):
            run = await engine.start("shop", item, id=f"INC-{number}", user=user, labels={"team": "web"})
            await settled(engine, run.id, user)


async def settled(engine: Engine, ref: str, user: str) -> None:
    """Until the run waits for something, or ended, and nobody owns it."""
    client, tick = engine.client(user), 0
    while True:
        stored = await client.find(ref)
        if stored.run.status != "running" and not stored.owner:
            return
        tick = await engine.store.wait(tick)


async def work_off(url: str, *refs: str, user: str = "ana") -> None:
    """An engine that knows the workflow takes the runs as far as they go."""
    async with Engine(url, workflow, durable=not url.startswith("redis")) as engine:
        for ref in refs:
            await settled(engine, ref, user)
