"""The workflows of a soak as code: what `shapes` drew, with handlers that tell the ledger what they do."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from holdfast.testing.soak import shapes
from holdfast.testing.soak.ledger import Ledger
from holdfast.testing.soak.shapes import Shape, Stage
from holdfast.workflow.definition import Retry
from holdfast.workflow.steps import RunContext
from holdfast.workflow.workflow import Workflow

RETRY = Retry(attempts_max=50, first_s=0.05, cap_s=0.5)
"""Here states fail for no fault of their code."""
BODY_S_MAX = 0.04

Owned = Callable[[str], tuple[str, int]]
"""Who owns a run here: the engine's process id and the run's epoch."""


class World:
    """One process's view of the outside. `owned` tells who owns a run; `spoil` is what a planted fault makes of an
    idempotency key."""

    def __init__(self, seed: int, ledger: Ledger, owned: Owned, spoil: Callable[[str], str] = str) -> None:
        self.seed = seed
        self.ledger = ledger
        self._owned = owned
        self._spoil = spoil

    def enter(self, ctx: RunContext) -> None:
        """A handler begins."""
        process, epoch = self._owned(ctx.run_id)
        self.ledger.add("owns", run=ctx.ticket_id, about=place_of(ctx), key=process, number=epoch)

    async def effect(self, ctx: RunContext, name: str, *, is_once: bool = False) -> None:
        """One effect, whose key is kept in the run's data: what the run believes can be held against the ledger."""
        place = name if is_once else f"{place_of(ctx)}/{name}"
        about = f"{ctx.ticket_id}/{place}"

        async def act(*, key: str) -> str:
            await self.rest(ctx, name, "before")
            key = self._spoil(key)
            self.ledger.add("effect", run=ctx.ticket_id, about=about, key=key)
            await self.rest(ctx, name, "after")
            return key

        ctx.data[place] = await ctx.step(name, act, once="run" if is_once else "visit")

    async def change(self, ctx: RunContext, resource: str) -> None:
        """Enter and leave a resource that takes fencing tokens."""
        about = f"{ctx.ticket_id}/{place_of(ctx)}"

        async def inside() -> None:
            self.ledger.add("in", run=ctx.ticket_id, about=about, key=resource, number=ctx.token)
            await self.rest(ctx, resource, "inside")
            self.ledger.add("out", run=ctx.ticket_id, about=about, key=resource, number=ctx.token)

        await ctx.step("change", inside)

    async def rest(self, ctx: RunContext, *words: str) -> None:
        """Real work takes time, in which anything may happen."""
        await asyncio.sleep(BODY_S_MAX * shapes.chance(self.seed, ctx.ticket_id, place_of(ctx), *words))


def place_of(ctx: RunContext) -> str:
    """The visit of a state: "s1.r0#2"."""
    return f"{ctx.state}#{ctx.visit}"


def workflow_of(shape: Shape, world: World) -> Workflow:
    """The workflow of a shape."""
    wf = Workflow(shape.name, data=dict, retry=RETRY)
    targets = [stage.path for stage in shape.stages[1:]] + ["done"]
    for stage, target in zip(shape.stages, targets, strict=True):
        _declare(wf, stage, target, shape.stages[0], world)
    wf.final("done")
    if any(stage.kind == "approval" for stage in shape.stages):
        wf.final("rejected", "expired")
    return wf


def _declare(wf: Workflow, stage: Stage, target: str, first: Stage, world: World) -> None:
    is_first = stage is first
    match stage.kind:
        case "timer":
            wf.wait(stage.path, after={f"{stage.after_ms}ms": target}, start=is_first)
        case "approval":
            on = {shapes.APPROVE: target, shapes.AGAIN: first.path, shapes.REJECT: "rejected"}
            wf.wait(stage.path, on=on, after={shapes.EXPIRY: "expired"}, start=is_first)
        case "regions":
            wf.parallel(stage.path, to=target, start=is_first)
            for leaf, name in stage.places:
                wf.add_state(leaf, functools.partial(_act, world, stage, (name,)))
        case "lock":
            handler = functools.partial(_act, world, stage, stage.names)
            wf.add_state(stage.path, handler, to=target, start=is_first, lock=_lock)
        case "steps" | "once" | "flaky":
            wf.add_state(stage.path, functools.partial(_act, world, stage, stage.names), to=target, start=is_first)


def _lock(data: dict[str, Any]) -> tuple[str, str]:
    return ("soak", data["resource"])


async def _act(world: World, stage: Stage, names: tuple[str, ...], ctx: RunContext) -> None:
    world.enter(ctx)
    is_failing = ctx.attempt <= stage.failures
    if is_failing and not stage.fails_late:
        raise ConnectionError("fails before its effect, as it was drawn to")
    if stage.kind == "lock":
        await world.change(ctx, ctx.data["resource"])
    for name in names:
        await world.effect(ctx, name, is_once=stage.kind == "once")
    if is_failing:
        raise ConnectionError("fails after its effect, as it was drawn to")
