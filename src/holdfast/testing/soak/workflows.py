"""The workflows of a soak as code: what `shapes` drew, with handlers that tell the ledger what they do."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from holdfast.locks import Lease
from holdfast.locks.rules import LockName
from holdfast.testing.soak import shapes
from holdfast.testing.soak.ledger import Ledger
from holdfast.testing.soak.shapes import Shape, Stage
from holdfast.workflow.actors.steps import RunContext
from holdfast.workflow.model.definition import Retry
from holdfast.workflow.model.workflow import Workflow

RETRY = Retry(attempts_max=50, first_s=0.05, cap_s=0.5)
"""Here states fail for no fault of their code."""
BODY_S_MAX = 0.04

Owned = Callable[[str], tuple[str, int]]
"""Who owns a run here: the engine's process id and the run's epoch."""
WriteUnder = Callable[[Lease, str], Awaitable[None]]
"""Writes what a text names, if the lease is still good."""
LOCK = "soak"
"""The kind of all locks."""


class World:
    """One process's view of the outside. `owned` tells who owns a run; `write_under` writes under a lease that lasts
    `ttl_s`; `keys_for`: under which keys an effect is presented, several where that is the planted fault."""

    def __init__(
        self,
        seed: int,
        ledger: Ledger,
        owned: Owned,
        write_under: WriteUnder,
        *,
        ttl_s: float,
        keys_for: Callable[[str], tuple[str, ...]],
    ) -> None:
        self.seed = seed
        self.ttl_s = ttl_s
        self._write_under = write_under
        self.ledger = ledger
        self._owned = owned
        self._keys_for = keys_for

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
            for each in self._keys_for(key):
                self.ledger.add("effect", run=ctx.ticket_id, about=about, key=each)
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

    async def share(self, ctx: RunContext, resource: str) -> None:
        """Share one resource and have another alone, both at once."""
        about, other = f"{ctx.ticket_id}/{place_of(ctx)}", shapes.neighbour_of(resource)
        tokens = {name: ctx.tokens[f"{LOCK}/{name}"] for name in (resource, other)}

        async def inside() -> None:
            for what, name in (("shares", resource), ("in", other)):
                self.ledger.add(what, run=ctx.ticket_id, about=about, key=name, number=tokens[name])
            await self.rest(ctx, resource, "inside")
            for what, name in (("leaves", resource), ("out", other)):
                self.ledger.add(what, run=ctx.ticket_id, about=about, key=name, number=tokens[name])

        await ctx.step("share", inside)

    async def hold(self, ctx: RunContext, resource: str) -> None:
        """Take a resource in the middle of the work. What is written last is refused if the lease was lost by then, and
        the attempt with it: so whoever was overtaken comes in again."""
        about = f"{ctx.ticket_id}/{place_of(ctx)}"
        async with ctx.acquire_resource_lock(LOCK, resource, ttl_s=self.ttl_s) as lease:
            self.ledger.add("in", run=ctx.ticket_id, about=about, key=resource, number=lease.token)
            await self.rest(ctx, resource, "inside")
            self.ledger.add("out", run=ctx.ticket_id, about=about, key=resource, number=lease.token)
            await self._write_under(lease, about)

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
    if shape.name == shapes.TICK:
        wf.every(shapes.TICK_S, name=shapes.TICK, missed="all")
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
        case "locks":
            handler = functools.partial(_act, world, stage, stage.names)
            wf.add_state(stage.path, handler, to=target, start=is_first, lock=_locks)
        case "child":
            into = shapes.child_field(stage.path)
            wf.child(stage.path, workflow=shapes.CHILD, to=target, into=into, start=is_first, input=_nothing)
        case "steps" | "once" | "flaky" | "block":
            wf.add_state(stage.path, functools.partial(_act, world, stage, stage.names), to=target, start=is_first)


def _lock(data: dict[str, Any]) -> LockName:
    return (LOCK, data[shapes.KEPT])


def _locks(data: dict[str, Any]) -> list[LockName]:
    resource = data[shapes.KEPT]
    return [(LOCK, resource, "shared"), (LOCK, shapes.neighbour_of(resource))]


def _nothing(_data: dict[str, Any]) -> None:
    """A child's input: its workflow is all that it is told."""


async def _act(world: World, stage: Stage, names: tuple[str, ...], ctx: RunContext) -> None:
    world.enter(ctx)
    is_failing = ctx.attempt <= stage.failures
    if is_failing and not stage.fails_late:
        raise ConnectionError("fails before its effect, as it was drawn to")
    match stage.kind:
        case "lock":
            await world.change(ctx, ctx.data[shapes.KEPT])
        case "locks":
            await world.share(ctx, ctx.data[shapes.KEPT])
        case "block":
            await world.hold(ctx, ctx.data[shapes.KEPT])
    for name in names:
        await world.effect(ctx, name, is_once=stage.kind == "once")
    if is_failing:
        raise ConnectionError("fails after its effect, as it was drawn to")
