"""Workflows at random: stages in a row, each of a drawn kind, that touch the world with every promise there is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from holdfast.clock import Randomness
from holdfast.locks.rules import LockName
from holdfast.testing.simulation.world import World
from holdfast.workflow.actors.steps import RunContext
from holdfast.workflow.model.definition import Retry
from holdfast.workflow.model.workflow import Workflow

STAGES_MAX = 4
LOCKS = 2
LEASE_TTL_S = 3.0
WAIT_S_MAX = 4.0
RETRY = Retry(attempts_max=5, first_s=0.2, cap_s=1.0)
CHILD, CLOCK = "child", "clock"
"""The workflow that others start runs of, and the one that a schedule does."""
TICK_S = 4.0
Stage = Callable[[Workflow, World, Randomness, str, str], None]


def random_workflows(world: World, chance: Randomness) -> Sequence[Workflow]:
    """One or two workflows, with that of their children if they have some, and perhaps one that a schedule starts. The
    same chance makes the same ones."""
    found = [_workflow(f"shape{number}", STAGES, world, chance) for number in range(1 + (chance.random() < 0.5))]
    if any(spec.child is not None for workflow in found for spec in workflow.states.values()):
        found.append(_workflow(CHILD, CHILD_STAGES, world, chance))
    return [*found, _clock(world)] if chance.random() < 0.3 else found


def _workflow(name: str, stages: Sequence[Stage], world: World, chance: Randomness) -> Workflow:
    has_clean_up = chance.random() < 0.5
    workflow = Workflow(name, data=dict, retry=RETRY, cancel_to="clean" if has_clean_up else None)
    kinds = [stages[int(chance.random() * len(stages))] for _ in range(1 + int(chance.random() * STAGES_MAX))]
    names = [f"s{number}" for number in range(len(kinds))] + ["end"]
    for number, stage in enumerate(kinds):
        stage(workflow, world, chance, names[number], names[number + 1])
    if has_clean_up:
        workflow.add_state("clean", _clean_up(world), to="end")
    workflow.final("end")
    return workflow


def _clock(world: World) -> Workflow:
    """Each due time is an intention of its own: two runs of one would come with two keys."""
    workflow = Workflow(CLOCK, data=dict, retry=RETRY)

    async def handler(ctx: RunContext) -> None:
        await _happen(ctx, world, f"tick {ctx.input['due']}", "tick")

    workflow.add_state("tick", handler, start=True, to="end")
    workflow.final("end")
    workflow.every(TICK_S, name="tick", user="dan", missed="all")
    return workflow


def _work(workflow: Workflow, world: World, chance: Randomness, name: str, to: str) -> None:
    """Steps in a row, one of them with a key for the whole run, one sync, one fanned out, and bytes that are kept."""
    count, has_map, has_blob = 1 + int(chance.random() * 3), chance.random() < 0.5, chance.random() < 0.3

    async def handler(ctx: RunContext) -> None:
        paper = f"{ctx.run_id} {name}".encode()
        ref = await ctx.put_blob("paper", paper) if has_blob else None
        for number in range(count):
            await _effect(ctx, world, name, f"step{number}")
        ctx.data[name] = await ctx.step("count", lambda: count)
        ctx.note("counted", count=count)
        await _effect(ctx, world, name, "charge", is_once=True)
        if has_map:
            items = ["a", "b", "c"]
            await ctx.map("each", lambda item: item, items, key=str, concurrency=2)
        if ref is not None and (found := await ctx.get_blob(ref)) != paper:
            world.problems.append(f"run {ctx.run_id}: kept {paper!r}, and got back {found!r}")

    workflow.add_state(name, handler, to=to, start=name == "s0", timeout_s=6.0)


def _parallel(workflow: Workflow, world: World, chance: Randomness, name: str, to: str) -> None:
    """Regions side by side, which write different things."""
    for region in range(2 + int(chance.random() * 2)):
        workflow.add_state(f"{name}.r{region}", _region(world, name, f"r{region}"), start=name == "s0" and region == 0)
    workflow.parallel(name, to=to)


def _region(world: World, name: str, region: str) -> Callable[[RunContext], Awaitable[None]]:
    async def handler(ctx: RunContext) -> None:
        await _effect(ctx, world, f"{name}.{region}", "look")
        ctx.data[f"{name}.{region}"] = ctx.visit

    return handler


def _attended(workflow: Workflow, world: World, chance: Randomness, name: str, to: str) -> None:
    """Somebody is asked while others are at work: the answer comes to a run that has an owner, or had one just now."""
    for region in range(1 + int(chance.random() * 2)):
        workflow.add_state(f"{name}.r{region}", _region(world, name, f"r{region}"), start=name == "s0" and region == 0)
    workflow.wait(f"{name}.asked.one", on={"yes": f"{name}.asked.over", "again": f"{name}.asked.one"})
    workflow.final(f"{name}.asked.over")
    workflow.parallel(name, to=to)


def _timer(workflow: Workflow, world: World, chance: Randomness, name: str, to: str) -> None:
    """Time passes, or somebody is impatient."""
    workflow.wait(name, on={"skip": to}, after={f"{1 + int(chance.random() * 3000)}ms": to}, start=name == "s0")


def _approval(workflow: Workflow, world: World, chance: Randomness, name: str, to: str) -> None:
    """Draft, ask, and draft again until it is approved: what is approved is the round that was looked at."""

    async def draft(ctx: RunContext) -> None:
        ctx.data["round"] = ctx.visit
        await _effect(ctx, world, f"{name}draft", "push")
        await _effect(ctx, world, f"{name}draft", "open", is_once=True)

    def about(data: dict[str, int]) -> str:
        return f"round {data.get('round', 0)}"

    workflow.add_state(f"{name}", draft, to=f"{name}review", start=name == "s0")
    workflow.wait(f"{name}review", on={"approve": to, "reject": name}, about=about)


def _locked(workflow: Workflow, world: World, chance: Randomness, name: str, to: str) -> None:
    """Work that only one at a time may do, of one thing, of several, or of a part of one; or who only looks, together
    with others. The world sees the tokens of those who are alone."""
    hold_s = chance.random() * 2
    first, second = (f"lock{int(chance.random() * LOCKS)}" for _ in range(2))
    wanted: list[LockName] = [("resource", first)]
    if chance.random() < 0.6:
        others: list[list[LockName]] = [
            [("resource", first), ("resource", second)],
            [("resource", f"{first}/part")],
            [("resource", first, "shared")],
        ]
        wanted = others[int(chance.random() * len(others))]
    alone = [f"{lock[0]}/{lock[1]}" for lock in wanted if len(lock) == 2]

    async def show(ctx: RunContext) -> None:
        for lock in dict.fromkeys(alone):
            await _guarded(ctx, world, lock, ctx.tokens[lock])

    async def handler(ctx: RunContext) -> None:
        await show(ctx)
        await ctx.sleep(hold_s)
        await show(ctx)
        await _effect(ctx, world, name, "deploy")

    workflow.add_state(name, handler, to=to, start=name == "s0", lock=lambda _: wanted)


def _borrowed(workflow: Workflow, world: World, chance: Randomness, name: str, to: str) -> None:
    """The same for a block in the handler, perhaps inside a lock of its state: others may want the two the other way
    round."""
    hold_s, is_inside = chance.random(), chance.random() < 0.4
    outer, inner = ("desk0", "desk1") if chance.random() < 0.5 else ("desk1", "desk0")

    async def handler(ctx: RunContext) -> None:
        async with ctx.acquire_resource_lock("resource", inner, ttl_s=LEASE_TTL_S, wait_max_s=WAIT_S_MAX) as lease:
            await _guarded(ctx, world, f"resource/{inner}", lease.token)
            await ctx.sleep(hold_s)
            await _guarded(ctx, world, f"resource/{inner}", lease.token)
        await _effect(ctx, world, name, "sign")

    lock = (lambda _: ("resource", outer)) if is_inside else None
    workflow.add_state(name, handler, to=to, start=name == "s0", lock=lock)


def _child(workflow: Workflow, world: World, chance: Randomness, name: str, to: str) -> None:
    """Another run does the work, for as long as there is patience."""
    edges = {"done": to, "cancelled": to} | ({"failed": to} if chance.random() < 0.3 else {})
    after = {f"{1 + int(chance.random() * 4000)}ms": to} if chance.random() < 0.4 else None
    into = name if chance.random() < 0.5 else None
    workflow.child(name, workflow=CHILD, to=edges, after=after, into=into, start=name == "s0")


def _clean_up(world: World) -> Callable[[RunContext], Awaitable[None]]:
    async def handler(ctx: RunContext) -> None:
        await _effect(ctx, world, "clean", "undo", is_once=True)

    return handler


async def _effect(ctx: RunContext, world: World, state: str, name: str, *, is_once: bool = False) -> None:
    """One effect, named for what is intended: once a run, or once a visit."""
    visit = "" if is_once else f"#{ctx.visit}"
    await _happen(ctx, world, f"{ctx.user.user}/{ctx.ticket_id}/{state}{visit}/{name}", name, is_once=is_once)


async def _guarded(ctx: RunContext, world: World, lock: str, token: int) -> None:
    await world.guarded(lock, token, f"{ctx.run_id} {ctx.state}#{ctx.visit}", attempt=ctx.attempt)


async def _happen(ctx: RunContext, world: World, what: str, name: str, *, is_once: bool = False) -> None:
    async def happen(*, key: str) -> str:
        return await world.effect(what, key=key)

    await ctx.step(name, happen, once="run" if is_once else "visit")


CHILD_STAGES: tuple[Stage, ...] = (_work, _parallel, _timer, _locked)
STAGES: tuple[Stage, ...] = (*CHILD_STAGES, _approval, _attended, _borrowed, _child)
