"""Locks: one visit at a time, first come first served, tokens that only grow; given back in the leaving commit."""

from __future__ import annotations

import pytest

from holdfast import ErrorType, InvalidInput, Retry, RunContext, Unavailable, Workflow, WorkflowError
from holdfast.locks import LOCK, LockTree, Ticket, ask
from holdfast.locks.records import KnownTree, lock_change
from holdfast.locks.rules import next_token
from holdfast.store.contract.records import ABSENT, Change, Query, Scope
from holdfast.testing import Gate, Lab
from holdfast.workflow.decisions import occurrences as on
from holdfast.workflow.model.build import after_event
from tests.engine.journal import told
from tests.engine.labs import ON_MEMORY, OpenLab, World, nothing


def repair(world: World, gates: dict[str, Gate]) -> Workflow:
    """Repairs the repository that the input names, one run at a time; its label opens the gate it waits at."""
    workflow = Workflow("repair", data=dict, retry=Retry(attempts_max=2, jitter=0))

    @workflow.state("read", start=True, to="repair")
    async def read(ctx: RunContext) -> None:
        ctx.data.update(ctx.input)

    @workflow.state("repair", to="review", on={"skip": "review"}, lock=lambda data: ("repository", data["repo"]))
    async def work(ctx: RunContext) -> None:
        world.do(ctx.data["name"])
        ctx.data["token"] = ctx.token
        if ctx.data.get("fails", 0) >= ctx.attempt:
            raise ConnectionError("push failed")
        await gates[ctx.data["name"]].wait()

    workflow.wait("review", on={"merge": "end"})
    workflow.final("end")
    return workflow


async def opened(open_lab: OpenLab, world: World, *names: str) -> tuple[Lab, dict[str, Gate]]:
    lab = await open_lab()
    gates = {name: lab.gate() for name in names}
    await lab.restart(repair(world, gates))
    return lab, gates


async def test_the_second_run_waits_and_gets_a_higher_token(open_lab: OpenLab) -> None:
    world = World()
    lab, gates = await opened(open_lab, world, "one", "two")
    one = await lab.start("repair", {"name": "one", "repo": "company/service"})
    two = await lab.start("repair", {"name": "two", "repo": "company/service"})
    await lab.settle()
    assert world.calls == {"one": 1}
    assert ((await two.refresh()).state, two.status) == ("repair", "running")
    gates["one"].open()
    await lab.settle()
    assert world.calls == {"one": 1, "two": 1}
    gates["two"].open()
    await lab.settle()
    assert (await one.refresh()).data["token"] < (await two.refresh()).data["token"]
    assert [row["lock"] for row in await told(two, "lock-granted")] == ["repository/company/service"]


async def test_other_repositories_do_not_wait(open_lab: OpenLab) -> None:
    world = World()
    lab, _ = await opened(open_lab, world, "one", "two")
    await lab.start("repair", {"name": "one", "repo": "company/one"})
    await lab.start("repair", {"name": "two", "repo": "company/two"})
    await lab.settle()
    assert world.calls == {"one": 1, "two": 1}


async def test_first_come_first_served_across_users(open_lab: OpenLab) -> None:
    names = ["a", "b", "c", "d", "e"]
    world = World()
    lab, gates = await opened(open_lab, world, *names)
    for name in names:
        await lab.engine.start("repair", {"name": name, "repo": "r"}, user=f"user-{name}")
        await lab.settle()
    for done, name in enumerate(names, start=1):
        assert list(world.calls) == names[:done]
        gates[name].open()
        await lab.settle()


@pytest.mark.parametrize("way", ["pause", "cancel", "skip"])
async def test_a_run_that_leaves_gives_the_lock_back(open_lab: OpenLab, way: str) -> None:
    world = World()
    lab, gates = await opened(open_lab, world, "one", "two")
    one = await lab.start("repair", {"name": "one", "repo": "r"})
    await lab.start("repair", {"name": "two", "repo": "r"})
    await lab.settle()
    match way:
        case "pause":
            await one.pause(by="ops")
        case "cancel":
            await one.cancel(by="ops")
        case _:
            await (await one.refresh()).send("skip", by="ops")
    await lab.settle()
    assert world.calls == {"one": 1, "two": 1}
    if way == "pause":
        await one.resume(by="ops")
        await lab.settle()
        assert world.calls["one"] == 1, "it asks again, behind the one that holds it now"
        gates["two"].open()
        await lab.settle()
        assert world.calls["one"] == 2
        assert len(await told(one, "lock-granted")) == 2


async def test_a_run_that_stops_waiting_leaves_the_line(open_lab: OpenLab) -> None:
    world = World()
    lab, gates = await opened(open_lab, world, "one", "two", "three")
    await lab.start("repair", {"name": "one", "repo": "r"})
    two = await lab.start("repair", {"name": "two", "repo": "r"})
    await lab.start("repair", {"name": "three", "repo": "r"})
    await lab.settle()
    await two.cancel(by="ops")
    gates["one"].open()
    await lab.settle()
    assert world.calls == {"one": 1, "three": 1}


async def test_a_short_back_off_keeps_the_lock_and_giving_up_returns_it(open_lab: OpenLab) -> None:
    world = World()
    lab, _ = await opened(open_lab, world, "one", "two")
    one = await lab.start("repair", {"name": "one", "repo": "r", "fails": 2})
    await lab.start("repair", {"name": "two", "repo": "r"})
    await lab.skip("1s")
    assert world.calls == {"one": 1}, "in back-off, and it holds the lock"
    await lab.skip("1s")
    assert ((await one.refresh()).status, world.calls) == ("failed", {"one": 2, "two": 1})


async def test_a_failed_run_that_is_resumed_asks_for_its_lock_again(open_lab: OpenLab) -> None:
    world = World()
    lab, gates = await opened(open_lab, world, "one", "two")
    one = await lab.start("repair", {"name": "one", "repo": "r", "fails": 2})
    await lab.start("repair", {"name": "two", "repo": "r"})
    await lab.skip("2s")
    await (await one.refresh()).resume(by="ops")
    await lab.settle()
    assert world.calls["one"] == 2, "another run repairs there now"
    gates["two"].open()
    await lab.settle()
    assert world.calls["one"] == 3


async def test_a_restart_keeps_the_line(open_lab: OpenLab) -> None:
    world = World()
    lab, gates = await opened(open_lab, world, "one", "two")
    await lab.start("repair", {"name": "one", "repo": "r"}, id="one")
    await lab.start("repair", {"name": "two", "repo": "r"}, id="two")
    await lab.settle()
    await lab.restart()
    await lab.settle()
    assert world.calls == {"one": 2}
    gates["one"].open()
    await lab.settle()
    assert world.calls == {"one": 2, "two": 1}


async def test_a_state_that_is_left_and_entered_again_asks_anew(open_lab: OpenLab) -> None:
    tokens: list[int] = []
    workflow = Workflow("rounds", data=dict)

    @workflow.state("write", start=True, to="review", lock=lambda data: ("repository", "r"))
    async def write(ctx: RunContext) -> None:
        tokens.append(ctx.token)

    workflow.wait("review", on={"again": "write", "merge": "end"})
    workflow.final("end")
    lab = await open_lab(workflow)
    run = await (await lab.start("rounds")).reach("review")
    for _ in range(2):
        await run.send("again", by="ana")
        await lab.settle()
        await run.refresh()
    assert tokens == sorted(set(tokens))
    assert len(tokens) == 3


async def test_a_lock_that_cannot_be_named_is_a_permanent_failure(open_lab: OpenLab) -> None:
    workflow = Workflow("unnamed", data=dict)
    workflow.add_state("read", nothing, start=True, to="work")
    workflow.add_state("work", nothing, to="end", lock=lambda data: ("repository", data["repo"]))
    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("unnamed")
    await lab.settle()
    await run.refresh()
    assert (run.status, run.state) == ("failed", "read")
    assert "state work: its lock= raised KeyError: 'repo'" in run.run.reason


async def test_code_takes_a_lock_for_a_block(open_lab: OpenLab) -> None:
    world = World()
    lab, gates = await opened(open_lab, world, "one")
    gates["one"].open()
    async with lab.engine.lock("repository", "r", user="ana") as lease:
        await lab.start("repair", {"name": "one", "repo": "r"}, id="T")
        await lab.settle()
        assert world.calls == {}, "a state and a block meet at the same lock"
        with pytest.raises(Unavailable, match=r"lock repository/r: waited 2 s; held by ana"):
            await _try_for_2_seconds(lab)
    await lab.skip("1s")
    assert world.calls == {"one": 1}
    assert (await lab.client.get("T")).data["token"] > lease.token


async def _try_for_2_seconds(lab: Lab) -> None:
    async def enter() -> None:
        async with lab.engine.lock("repository", "r", user="bob", wait_max_s=2):
            raise AssertionError("two hold one lock")

    attempt = lab.engine.inside.runtime.tasks.start(enter(), name="second")
    await lab.skip("3s")
    await attempt


async def test_a_block_renews_its_lease_and_gives_it_back(open_lab: OpenLab) -> None:
    lab = await open_lab()
    async with lab.engine.lock("repository", "r", ttl_s=3) as lease:
        await lab.skip("10s")
        assert not lease.lost.is_set()
        lease.check()
    async with lab.engine.lock("repository", "r", wait_max_s=0) as again:
        assert again.token > lease.token


async def test_a_lock_needs_a_name(open_lab: OpenLab) -> None:
    lab = await open_lab()
    with pytest.raises(InvalidInput, match="lock name: expected a real id"):
        async with lab.engine.lock("repository", ""):
            raise AssertionError("held a lock without a name")


async def test_no_lock_is_held_when_all_runs_have_ended(open_lab: OpenLab) -> None:
    world = World()
    lab, gates = await opened(open_lab, world, "one", "two")
    for name in gates:
        run = await lab.start("repair", {"name": name, "repo": "r"})
        gates[name].open()
        await (await run.reach("review")).send("merge", by="ana")
    page = await lab.store.scan(Scope.system(), Query(kind=LOCK))
    assert [(record.key.id, record.status) for record in page.records] == [("repository/r", "free")]


async def test_a_failed_run_gives_back_the_locks_of_all_its_regions(open_lab: OpenLab) -> None:
    world = World()
    lab = await open_lab()
    gates = {name: lab.gate() for name in ("holder", "next")}
    workflow = Workflow("regions", data=dict)
    workflow.parallel("both", start=True, to="end")

    @workflow.state("both.fails")
    async def fails(ctx: RunContext) -> None:
        raise WorkflowError("no way", error_type=ErrorType.PERMANENT)

    @workflow.state("both.holds", lock=lambda data: ("repository", "r"))
    async def holds(ctx: RunContext) -> None:
        world.do("held")
        await gates["holder"].wait()

    workflow.final("end")
    await lab.restart(workflow, repair(world, gates))
    run = await lab.start("regions")
    await lab.start("repair", {"name": "next", "repo": "r"})
    await lab.settle()
    assert ((await run.refresh()).status, world.calls["next"]) == ("failed", 1)


@ON_MEMORY
async def test_a_lease_whose_holder_died_is_passed_on_when_it_lapses(open_lab: OpenLab) -> None:
    world = World()
    lab, _ = await opened(open_lab, world, "one", "two")
    left_at = lab.clock.time_s()
    await leave_a_ticket(lab, Ticket("lease:dead", "ana", left_at, "r", expires_at=left_at + 30))
    one = await lab.start("repair", {"name": "one", "repo": "r"})
    await lab.skip("29s")
    assert world.calls == {}
    await lab.skip("1s")
    assert world.calls == {"one": 1}
    (row,) = await told(one, "lock-granted")
    assert row["token"] > next_token(0, left_at)


async def leave_a_ticket(lab: Lab, ticket: Ticket) -> None:
    """What a process that died at the head of a line leaves behind."""
    free = LockTree("repository", "r")
    puts, _ = lock_change("main", KnownTree(free, ABSENT), ask(free, [ticket], now=ticket.since))
    await lab.store.commit(Scope.of_tenant("main"), Change(change_id="dead", writes=puts))


async def test_a_handler_that_begins_elsewhere_gets_a_higher_token(open_lab: OpenLab) -> None:
    tokens: list[int] = []
    lab = await open_lab()
    gate = lab.gate()
    workflow = Workflow("regions", data=dict)
    workflow.parallel("both", start=True, to="end")

    @workflow.state("both.one", lock=lambda data: ("repository", "r"))
    async def one(ctx: RunContext) -> None:
        tokens.append(ctx.token)
        await gate.wait()

    workflow.wait("both.two", on={"ok": "done"}, after={"1h": "done"})
    workflow.final("end")
    await lab.restart(workflow)
    run = await lab.start("regions")
    await lab.settle()
    await lab.client.occur(run.id, on.Directed(event=after_event("both.two", 0), trigger="by hand"))
    await lab.settle()
    assert len(tokens) == 2
    assert tokens[0] < tokens[1], "the first may be at work still where its cancelling was not heard yet"


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        (("repository", "a\0b"), "without NUL"),
        (("repository", "r" * 201), "expected 1 to 200 signs"),
        (("repository", "\ud800"), "text that UTF-8 can encode"),
        (("", "r"), "lock kind: expected a real id"),
        (("company/repository", "r"), 'lock kind: expected no "/"'),
    ],
)
@ON_MEMORY
async def test_what_cannot_name_a_lock_is_said_before_it_is_stored(
    open_lab: OpenLab, named: tuple[str, str], problem: str
) -> None:
    workflow = Workflow("misnamed", data=dict)
    workflow.add_state("read", nothing, start=True, to="work")
    workflow.add_state("work", nothing, to="end", lock=lambda data: named)
    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("misnamed")
    await lab.settle()
    await run.refresh()
    assert (run.status, run.state) == ("failed", "read")
    assert run.run.reason.startswith("WorkflowError: state work: its lock= names none: lock ")
    assert problem in run.run.reason
    with pytest.raises(InvalidInput, match=problem):
        async with lab.engine.lock(*named):
            raise AssertionError("held a lock without a name")


async def test_who_waits_for_a_lock_and_is_paused_is_not_set_going_by_a_look_at_him(open_lab: OpenLab) -> None:
    """A process may take up a run that stands still, for a signal's sake, and looks at all that it waits for then."""
    world = World()
    lab, gates = await opened(open_lab, world, "one", "two")
    await lab.start("repair", {"name": "one", "repo": "company/service"})
    two = await lab.start("repair", {"name": "two", "repo": "company/service"})
    await lab.settle()
    await two.pause(by="ops")
    await lab.settle()
    assert await lab.engine.inside.recovery.claim_one((await two.refresh()).run)
    await lab.settle()
    gates["one"].open()
    await lab.skip("1m")
    assert ((await two.refresh()).status, world.calls) == ("paused", {"one": 1})
    assert [event.name for event in await two.history()][-1] == "paused"
    await two.resume(by="ops")
    gates["two"].open()
    await lab.settle()
    assert ((await two.refresh()).state, world.calls["two"]) == ("review", 1)
