"""Locks of handlers: several for a state, shared ones, blocks inside a handler, cycles in which a visit gives way."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import Retry, RunContext, StateTransition, UserExecutionContext, Workflow, WorkflowStateManager
from holdfast.locks import look_at_locks
from holdfast.store.contract.records import Scope
from holdfast.testing import Gate, Lab
from holdfast.testing.faulty_store import Fault, When
from tests.engine.journal import told
from tests.engine.labs import ON_MEMORY, OpenLab, World
from tests.engine.test_leases import faulty_lab, of_lock


def locking(world: World, gates: dict[str, Gate]) -> Workflow:
    """Holds what its input says: `locks` for the state, then `inside` in a block of the handler; counts how often it
    got there, and waits at its gate."""
    workflow = Workflow("locking", data=dict, retry=Retry(attempts_max=3, jitter=0))

    @workflow.state("read", start=True, to="work")
    async def read(ctx: RunContext) -> None:
        ctx.data.update(ctx.input)

    @workflow.state("work", to="end", lock=lambda data: [tuple(lock) for lock in data["locks"]])
    async def work(ctx: RunContext) -> None:
        name = ctx.data["name"]
        world.do(name)
        ctx.data["tokens"] = ctx.tokens
        if "both" in gates:
            await gates["both"].wait()
        if "inside" in ctx.data:
            async with ctx.acquire_resource_lock("repository", ctx.data["inside"]) as lease:
                world.do(f"{name} inside")
                ctx.data["inner"] = lease.token
                await gates[name].wait()
        else:
            await gates[name].wait()

    workflow.final("end")
    return workflow


async def opened(open_lab: OpenLab, world: World, *names: str) -> tuple[Lab, dict[str, Gate]]:
    lab = await open_lab()
    gates = {name: lab.gate() for name in names}
    await lab.restart(locking(world, gates))
    return lab, gates


async def held(lab: Lab) -> dict[str, tuple[int, int]]:
    """How many hold and how many wait for each lock."""
    views = look_at_locks(lab.store, Scope.system())
    return {view.lock: (len(view.holders), len(view.waiters)) async for view in views}


async def test_a_state_holds_several_locks_or_waits_with_none_of_its_work_begun(open_lab: OpenLab) -> None:
    world = World()
    lab, gates = await opened(open_lab, world, "one", "two", "three")
    one = await lab.start("locking", {"name": "one", "locks": [("repository", "a"), ("cluster", "b")]})
    await lab.start("locking", {"name": "two", "locks": [("repository", "c"), ("cluster", "b")]})
    await lab.start("locking", {"name": "three", "locks": [("repository", "d")]})
    await lab.settle()
    assert world.calls == {"one": 1, "three": 1}
    assert [row["lock"] for row in await told(one, "lock-granted")] == ["cluster/b", "repository/a"]
    gates["one"].open()
    await lab.settle()
    assert world.calls == {"one": 1, "two": 1, "three": 1}
    tokens = (await one.refresh()).data["tokens"]
    assert tokens == {row["lock"]: row["token"] for row in await told(one, "lock-granted")}
    for gate in gates.values():
        gate.open()
    await lab.settle()
    assert await held(lab) == {}


async def test_shared_states_work_side_by_side_and_let_an_exclusive_one_in_between(open_lab: OpenLab) -> None:
    world = World()
    names = ["one", "two", "alone", "late"]
    lab, gates = await opened(open_lab, world, *names)
    for name in names:
        mode = "exclusive" if name == "alone" else "shared"
        await lab.start("locking", {"name": name, "locks": [("repository", "company", mode)]})
        await lab.settle()
    assert list(world.calls) == ["one", "two"]
    gates["one"].open()
    await lab.settle()
    assert list(world.calls) == ["one", "two"]
    gates["two"].open()
    await lab.settle()
    assert list(world.calls) == ["one", "two", "alone"]
    gates["alone"].open()
    await lab.settle()
    assert list(world.calls) == names
    gates["late"].open()
    await lab.settle()
    assert await held(lab) == {}


async def test_a_cycle_makes_one_visit_give_way_and_try_again(open_lab: OpenLab) -> None:
    """Each holds what the other asks for in its handler. One is told so, gives its state's lock back with that commit,
    lets the other end, and gets through at its second attempt."""
    world = World()
    lab, gates = await opened(open_lab, world, "one", "two", "both")
    for mine, other in (("one", "two"), ("two", "one")):
        gates[mine].open()
        await lab.start("locking", {"name": mine, "locks": [("repository", mine)], "inside": other}, id=f"run-{mine}")
    await lab.settle()
    assert world.calls == {"one": 1, "two": 1}
    gates["both"].open()
    await lab.skip("10s")
    runs = [await lab.client.get(f"run-{name}") for name in ("one", "two")]
    assert [run.status for run in runs] == ["done", "done"]
    assert sorted([world.calls["one"], world.calls["two"]]) == [1, 2]
    assert world.calls["one inside"] == world.calls["two inside"] == 1
    rows = [StateTransition.of(row).metadata for run in runs for row in await run.history()]
    (failure,) = [facts for facts in rows if facts.get("error") == "Deadlock"]
    assert "waits for repository/" in failure["message"]
    assert await held(lab) == {}


async def test_an_attempt_that_begins_again_does_not_wait_for_the_lease_of_the_one_before() -> None:
    """The giving back of the first attempt comes to nothing, as where its process dies."""
    world = World()
    died = When("commit", 3, Fault.REFUSE, of_lock)  # the first enters the state, the second takes the block's lock
    async with faulty_lab(died) as (lab, store, _):
        gates = {"one": lab.gate()}
        await lab.restart(locking(world, gates))
        await lab.start("locking", {"name": "one", "locks": [("repository", "a")], "inside": "b"}, id="run")
        await lab.settle()
        assert world.calls["one inside"] == 1
        await lab.restart()
        await lab.settle()
        assert (world.calls["one inside"], store.unseen()) == (2, [])
        gates["one"].open()
        await lab.settle()
        run = await lab.client.get("run")
        assert run.status == "done"
        assert run.data["inner"] > 0


async def test_a_handler_and_a_manager_meet_at_one_lock(open_lab: OpenLab) -> None:
    world = World()
    lab, gates = await opened(open_lab, world, "one")
    manager = WorkflowStateManager(lab.engine, UserExecutionContext(user="ana"), workflow="locking")
    gates["one"].open()
    async with manager.acquire_resource_lock("repository", "company") as lease:
        run = await lab.start("locking", {"name": "one", "locks": [("cluster", "c")], "inside": "company/cart"})
        await lab.settle()
        assert (world.calls, (await held(lab))["repository/company/cart"]) == ({"one": 1}, (0, 1))
    await lab.skip("1s")
    assert (await run.refresh()).data["inner"] > lease.token


async def test_blocks_side_by_side_in_one_handler_exclude_each_other(open_lab: OpenLab) -> None:
    inside = 0
    seen: list[int] = []
    workflow = Workflow("side-by-side", data=dict)

    @workflow.state("work", start=True, to="end")
    async def work(ctx: RunContext) -> None:
        async def hold() -> None:
            nonlocal inside
            async with ctx.acquire_resource_lock("repository", "r") as lease:
                inside += 1
                assert inside == 1, "two hold one lock"
                await asyncio.sleep(0)
                seen.append(lease.token)
                inside -= 1

        await asyncio.gather(hold(), hold(), hold())

    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("side-by-side")
    await lab.skip("5s")
    assert ((await run.refresh()).status, len(seen)) == ("done", 3)
    assert seen == sorted(set(seen))


@pytest.mark.parametrize(
    ("locks", "problem"),
    [
        ([("repository", "r", "write")], "expected the mode exclusive or shared"),
        ([], "expected 1 to 100 locks"),
        ([("r",)], "expected (kind, name)"),
    ],
)
@ON_MEMORY
async def test_a_lock_that_makes_no_sense_is_a_permanent_failure(
    open_lab: OpenLab, locks: list[tuple[str, ...]], problem: str
) -> None:
    lab, _ = await opened(open_lab, World(), "one")
    run = await lab.start("locking", {"name": "one", "locks": locks})
    await lab.settle()
    await run.refresh()
    assert (run.status, run.state) == ("failed", "read")
    assert problem in run.run.reason


def crossing(world: World, *, wait_max_s: float | None) -> Workflow:
    """Holds `mine` of its input for the state and asks for `other` in a block; the first attempt of a run that is
    `weak` fails before that."""
    workflow = Workflow("crossing", data=dict, retry=Retry(attempts_max=9, first_s=1, cap_s=1, jitter=0))

    @workflow.state("read", start=True, to="work")
    async def read(ctx: RunContext) -> None:
        ctx.data.update(ctx.input)

    @workflow.state("work", to="end", lock=lambda data: ("desk", data["mine"]))
    async def work(ctx: RunContext) -> None:
        if world.do(ctx.ticket_id) == 1 and ctx.data.get("weak"):
            raise ConnectionError("not yet")
        async with ctx.acquire_resource_lock("desk", ctx.data["other"], wait_max_s=wait_max_s):
            world.do(f"{ctx.ticket_id} inside")

    workflow.final("end")
    return workflow


async def test_who_waited_too_long_in_a_block_keeps_no_lock_of_its_state_while_it_rests(open_lab: OpenLab) -> None:
    """The two could otherwise miss each other for ever: each rests with what the other one comes to ask for."""
    world = World()
    lab = await open_lab()
    await lab.restart(crossing(world, wait_max_s=2.0))
    async with lab.engine.lock("desk", "b", user="bob"):
        one = await lab.start("crossing", {"mine": "a", "other": "b"}, id="one")
        two = await lab.start("crossing", {"mine": "a", "other": "c"}, id="two")
        await lab.settle()
        assert world.calls == {"one": 1}
        await lab.skip("2s")
        assert world.calls == {"one": 1, "two": 1, "two inside": 1}
        assert (await two.refresh()).status == "done"
    await lab.skip("2s")
    assert (await one.refresh()).status == "done"
    rows = [StateTransition.of(row).metadata for row in await one.history()]
    assert [facts["error"] for facts in rows if "error" in facts] == ["LockTimeout"]
    assert len(await told(one, "lock-granted")) == 2
    assert await held(lab) == {}


@pytest.mark.parametrize("wait_max_s", [4.0, None], ids=["for a while", "without end"])
async def test_one_place_is_enough_for_runs_that_cross(wait_max_s: float | None) -> None:
    """Who works asks for what one without a place has, and that one for what the first has, and behind both others
    come who want the same."""
    world = World()
    async with Lab(crossing(world, wait_max_s=wait_max_s), runs_max=1) as lab:
        for number in range(3):
            for mine, other in (("a", "b"), ("b", "a")):
                await lab.start("crossing", {"mine": mine, "other": other, "weak": True}, id=f"{mine}-{number}")
        await lab.skip("60s")
        runs, _ = await lab.client.runs(limit=10)
        assert [run.status for run in runs] == ["done"] * 6
        assert await held(lab) == {}
