"""Workflows at random: stages in a row, each of a drawn kind, that touch the world with every promise there is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from holdfast.clock import Randomness
from holdfast.testing.simulation.world import World
from holdfast.workflow.definition import Retry
from holdfast.workflow.steps import RunContext
from holdfast.workflow.workflow import Workflow

STAGES_MAX = 4
LOCKS = 2
RETRY = Retry(attempts_max=5, first_s=0.2, cap_s=1.0)


def random_workflows(world: World, chance: Randomness) -> Sequence[Workflow]:
    """One or two workflows. The same chance makes the same ones."""
    return [_workflow(f"shape{number}", world, chance) for number in range(1 + (chance.random() < 0.5))]


def _workflow(name: str, world: World, chance: Randomness) -> Workflow:
    workflow = Workflow(name, data=dict, retry=RETRY)
    kinds = [STAGES[int(chance.random() * len(STAGES))] for _ in range(1 + int(chance.random() * STAGES_MAX))]
    names = [f"s{number}" for number in range(len(kinds))] + ["end"]
    for number, stage in enumerate(kinds):
        stage(workflow, world, chance, names[number], names[number + 1])
    workflow.final("end")
    return workflow


def _work(workflow: Workflow, world: World, chance: Randomness, name: str, to: str) -> None:
    """Steps in a row, one of them with a key for the whole run, one sync, one fanned out."""
    count, has_map = 1 + int(chance.random() * 3), chance.random() < 0.5

    async def handler(ctx: RunContext) -> None:
        for number in range(count):
            await _effect(ctx, world, name, f"step{number}")
        ctx.data[name] = await ctx.step("count", lambda: count)
        ctx.note("counted", count=count)
        await _effect(ctx, world, name, "charge", is_once=True)
        if has_map:
            items = ["a", "b", "c"]
            await ctx.map("each", lambda item: item, items, key=str, concurrency=2)

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
    """Work that only one at a time may do: the world sees the token."""
    lock, hold_s = f"lock{int(chance.random() * LOCKS)}", chance.random() * 2

    async def handler(ctx: RunContext) -> None:
        await world.guarded(lock, ctx.token, f"{ctx.run_id} {ctx.state}#{ctx.visit}")
        await ctx.sleep(hold_s)
        await world.guarded(lock, ctx.token, f"{ctx.run_id} {ctx.state}#{ctx.visit}")
        await _effect(ctx, world, name, "deploy")

    workflow.add_state(name, handler, to=to, start=name == "s0", lock=lambda _: ("resource", lock))


async def _effect(ctx: RunContext, world: World, state: str, name: str, *, is_once: bool = False) -> None:
    """One effect, named for what is intended: once a run, or once a visit."""
    visit = "" if is_once else f"#{ctx.visit}"
    what = f"{ctx.user.user}/{ctx.ticket_id}/{state}{visit}/{name}"

    async def happen(*, key: str) -> str:
        return await world.effect(what, key=key)

    await ctx.step(name, happen, once="run" if is_once else "visit")


STAGES = (_work, _parallel, _timer, _approval, _locked)
