"""Limits of states: places and rates hold whatever happens to the runs, and who waits costs no place of a worker."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import InvalidDefinition, Limit, Retry, RunContext, Unavailable, Workflow
from holdfast.limits import WAITER, LimitBook, LimitView, look_at_limits
from holdfast.store.contract.records import Change, Query, Scope
from holdfast.testing import Gate, Lab
from tests.engine.journal import told
from tests.engine.labs import EVERYWHERE, ON_MEMORY, OpenLab, World, nothing

TWO = Limit("llm", places=2)


def asking(world: World, gates: dict[str, Gate], *limits: Limit) -> Workflow:
    """Asks once for the gate that the input names; its retry follows after 2 seconds."""
    workflow = Workflow("ask", data=dict, retry=Retry(attempts_max=3, jitter=0))

    @workflow.state("ask", start=True, to="end", on={"skip": "end"}, limits=limits)
    async def ask(ctx: RunContext) -> None:
        world.do(ctx.input["name"])
        if ctx.attempt <= ctx.input.get("fails", 0):
            raise ConnectionError("away")
        await gates[ctx.input["name"]].wait()

    workflow.final("end")
    return workflow


async def opened(
    open_lab: OpenLab, world: World, *limits: Limit, names: str = "abcdef", **options: object
) -> tuple[Lab, dict[str, Gate]]:
    lab = await open_lab(**options)
    gates = {name: lab.gate() for name in names}
    await lab.restart(asking(world, gates, *limits))
    return lab, gates


async def views(lab: Lab) -> dict[str, LimitView]:
    return {view.limit: view async for view in look_at_limits(lab.engine.store, Scope.system())}


@EVERYWHERE
async def test_no_more_than_its_places_work_and_the_others_go_on_in_turn(open_lab: OpenLab) -> None:
    world = World()
    lab, gates = await opened(open_lab, world, TWO)
    runs = {name: await lab.start("ask", {"name": name}) for name in "abcd"}
    await lab.settle()
    assert world.calls == {"a": 1, "b": 1}
    assert ((await runs["c"].refresh()).status, runs["c"].state) == ("waiting", "ask")
    assert [place.holder for place in (await views(lab))["llm"].places] == [
        f"run:{runs[name].id}/ask#1" for name in "ab"
    ]  # fmt: skip
    gates["b"].open()
    await lab.settle()
    assert world.calls == {"a": 1, "b": 1, "c": 1}
    for gate in gates.values():
        gate.open()
    await lab.settle()
    assert world.calls == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert {(await run.refresh()).status for run in runs.values()} == {"done"}
    view = (await views(lab))["llm"]
    assert (view.places, view.waiting, view.room) == ((), 0, 2)
    assert [row["limit"] for row in await told(runs["d"], "place-awaited")] == ["llm"]


async def test_who_waits_needs_no_place_of_the_engine(open_lab: OpenLab) -> None:
    world = World()
    lab, gates = await opened(open_lab, world, Limit("llm", places=1), runs_max=2)
    other = Workflow("other", data=dict)
    other.add_state("work", nothing, start=True, to="end")
    other.final("end")
    await lab.restart(asking(world, gates, Limit("llm", places=1)), other, runs_max=2)
    for name in "abcde":
        await lab.start("ask", {"name": name})
    await lab.settle()
    assert len(lab.engine.inside.crew) == 1
    assert (await lab.start("other")) is not None
    await lab.settle()
    assert len(lab.engine.inside.crew) == 1, "the other one had a place, and ended"


@EVERYWHERE
async def test_the_line_is_fair_over_users(open_lab: OpenLab) -> None:
    world = World()
    lab, gates = await opened(open_lab, world, Limit("llm", places=1), names="abcdefxy")
    for name in "abcdef":
        await lab.engine.start("ask", {"name": name}, user="ana")
        await lab.settle()
    for name in "xy":
        await lab.engine.start("ask", {"name": name}, user="bob")
        await lab.settle()
    for _ in range(8):
        gates[list(world.calls)[-1]].open()
        await lab.settle()
    order = "".join(world.calls)
    assert (order.index("x") <= 2, order.index("y") <= 4) == (True, True), order
    assert order.translate({ord("x"): None, ord("y"): None}) == "abcdef"


async def test_one_of_each_user(open_lab: OpenLab) -> None:
    world = World()
    lab, gates = await opened(open_lab, world, Limit("runs", places=1, per="user"))
    for name, user in zip("abcd", ("ana", "ana", "bob", "bob"), strict=True):
        await lab.engine.start("ask", {"name": name}, user=user)
    await lab.settle()
    assert world.calls == {"a": 1, "c": 1}
    assert set(await views(lab)) == {"runs/ana", "runs/bob"}
    gates["c"].open()
    await lab.settle()
    assert world.calls == {"a": 1, "c": 1, "d": 1}


@EVERYWHERE
async def test_a_rate_spaces_the_attempts_without_a_look_in_between(open_lab: OpenLab) -> None:
    world = World()
    lab, gates = await opened(open_lab, world, Limit("llm", rate="6/1m", burst=2))
    for gate in gates.values():
        gate.open()
    began_at = lab.engine.store.now_s()
    runs = [await lab.start("ask", {"name": name}) for name in "abcde"]
    await lab.settle()
    assert len(world.calls) == 2
    sweeps = lab.engine.inside.recovery.sweeps
    await lab.skip("9s")
    assert len(world.calls) == 2
    if not lab.engine.inside.ownership.is_shared:
        assert lab.engine.inside.recovery.sweeps == sweeps
    await lab.skip("25s")
    assert len(world.calls) == 5
    granted = [(await told(run, "place-granted"))[0]["at"] - began_at for run in runs]
    assert granted == pytest.approx([0, 0, 10, 20, 30], abs=0.5)


async def test_each_attempt_is_a_token_and_gives_its_place_back(open_lab: OpenLab) -> None:
    """In back-off a run holds nothing: another takes the place, and the retry waits for a token of its own."""
    world = World()
    lab, gates = await opened(open_lab, world, Limit("llm", places=1, rate="1/5s"))
    one = await lab.start("ask", {"name": "a", "fails": 1})
    await lab.settle()
    assert (await views(lab))["llm"].places == ()
    await lab.skip("3s")
    assert world.calls == {"a": 1}
    assert (await one.refresh()).status == "waiting"
    await lab.skip("3s")
    assert world.calls == {"a": 2}
    gates["a"].open()
    await lab.settle()
    assert (await one.refresh()).status == "done"


async def test_a_run_that_begins_again_elsewhere_spends_another_token(open_lab: OpenLab) -> None:
    world = World()
    lab, gates = await opened(open_lab, world, Limit("llm", places=1, rate="1/10s"))
    run = await lab.start("ask", {"name": "a"})
    await lab.settle()
    await lab.restart(asking(world, gates, Limit("llm", places=1, rate="1/10s")))
    await lab.settle()
    await lab.skip("3s")
    assert world.calls == {"a": 1}, "the handler has not begun again"
    await lab.skip("10s")
    assert world.calls == {"a": 2}
    first, second = [row["at"] for row in await told(run, "place-granted")]
    assert second - first >= 10


@pytest.mark.parametrize("act", ["signal", "cancel", "pause"])
async def test_who_leaves_the_line_is_not_waited_for(open_lab: OpenLab, act: str) -> None:
    world = World()
    lab, gates = await opened(open_lab, world, Limit("llm", places=1))
    runs = {name: await lab.start("ask", {"name": name}) for name in "abc"}
    await lab.settle()
    if act == "signal":
        await runs["b"].send("skip", by="ana")
    elif act == "cancel":
        await runs["b"].cancel(reason="enough")
    else:
        await runs["b"].pause()
    await lab.settle()
    assert (await views(lab))["llm"].waiting == 1
    gates["a"].open()
    await lab.settle()
    assert world.calls == {"a": 1, "c": 1}
    if act == "pause":
        await runs["b"].resume()
        gates["c"].open()
        await lab.settle()
        assert world.calls == {"a": 1, "b": 1, "c": 1}
    page = await lab.engine.store.scan(Scope.system(), Query(kind=WAITER))
    assert page.records == ()


@EVERYWHERE
async def test_a_pause_and_an_end_give_the_place_back(open_lab: OpenLab) -> None:
    world = World()
    lab, _ = await opened(open_lab, world, Limit("llm", places=1))
    one, two = [await lab.start("ask", {"name": name}) for name in "ab"]
    await lab.settle()
    await one.pause()
    await lab.settle()
    assert world.calls == {"a": 1, "b": 1}
    await two.cancel()
    await one.resume()
    await lab.settle()
    assert world.calls == {"a": 2, "b": 1}


@EVERYWHERE
async def test_several_limits_are_had_together(open_lab: OpenLab) -> None:
    world = World()
    limits = (Limit("llm", places=2, rate="100/1s", burst=9), Limit("runs", places=1, per="user"))
    lab, gates = await opened(open_lab, world, *limits)
    for name, user in zip("abcd", ("ana", "ana", "bob", "cy"), strict=True):
        await lab.engine.start("ask", {"name": name}, user=user)
        await lab.settle()
    assert world.calls == {"a": 1, "c": 1}
    assert {name: view.waiting for name, view in (await views(lab)).items()} == {
        "llm": 1, "runs/ana": 1, "runs/bob": 0, "runs/cy": 0
    }  # fmt: skip
    for name in "acbd":
        gates[name].open()
        await lab.settle()
    assert world.calls == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert all(view.places == () and view.waiting == 0 for view in (await views(lab)).values())


async def test_regions_beside_each_other_wait_alone(open_lab: OpenLab) -> None:
    """One region works while the other stands in line: the run is owned, and called where it is."""
    world = World()
    lab = await open_lab()
    gates = {name: lab.gate() for name in ("left", "right")}
    workflow = Workflow("both", data=dict)
    workflow.parallel("both", to="end", start=True)

    async def work(ctx: RunContext) -> None:
        name = ctx.state.rpartition(".")[2]
        world.do(name)
        await gates[name].wait()

    for name in gates:
        workflow.add_state(f"both.{name}", work, limits=Limit("llm", places=1))
    workflow.final("end")
    await lab.restart(workflow)
    run = await lab.start("both")
    await lab.settle()
    assert world.calls == {"left": 1}
    gates["left"].open()
    await lab.settle()
    assert world.calls == {"left": 1, "right": 1}
    gates["right"].open()
    await lab.settle()
    assert (await run.refresh()).status == "done"


@EVERYWHERE
async def test_a_state_with_a_lock_and_a_limit_takes_the_lock_first(open_lab: OpenLab) -> None:
    world = World()
    lab = await open_lab()
    gates = {name: lab.gate() for name in "abc"}
    workflow = Workflow("ask", data=dict)

    @workflow.state("ask", start=True, to="end", lock=lambda data: ("repo", "r"), limits=Limit("llm", places=1))
    async def ask(ctx: RunContext) -> None:
        world.do(ctx.input)
        await gates[ctx.input].wait()

    workflow.final("end")
    await lab.restart(workflow)
    runs = [await lab.start("ask", name) for name in "abc"]
    for name in "abc":
        await lab.settle()
        assert sum(world.calls.values()) == "abc".index(name) + 1
        gates[name].open()
    await lab.settle()
    assert {(await run.refresh()).status for run in runs} == {"done"}


async def test_a_thousand_wait_and_no_write_is_larger_for_it(open_lab: OpenLab) -> None:
    world = World()
    lab, _ = await opened(open_lab, world, Limit("llm", places=1))
    for _ in range(100):
        await asyncio.gather(*(lab.start("ask", {"name": "a"}) for _ in range(3)))
    await lab.settle()
    view = (await views(lab))["llm"]
    assert (view.waiting, len(view.places)) == (299, 1)
    (record,) = (await lab.engine.store.scan(Scope.system(), Query(kind="limit"))).records
    assert len(record.body) < 500


@ON_MEMORY
async def test_code_that_has_the_limit_no_more_lets_its_line_go_on(open_lab: OpenLab) -> None:
    world = World()
    lab, gates = await opened(open_lab, world, Limit("llm", places=1))
    for name in "abc":
        await lab.start("ask", {"name": name})
    await lab.settle()
    assert sum(world.calls.values()) == 1
    await lab.restart(asking(world, gates))
    await lab.settle()
    assert set(world.calls) == {"a", "b", "c"}


def test_what_a_state_declares_is_checked() -> None:
    workflow = Workflow("ask", data=dict)
    with pytest.raises(InvalidDefinition, match="expected limits= as Limit"):
        workflow.add_state("ask", nothing, start=True, to="end", limits="llm")  # type: ignore[arg-type]
    with pytest.raises(InvalidDefinition, match="at most one limit with a rate, saw a, b"):
        workflow.add_state("ask", nothing, start=True, limits=[Limit("a", rate="1/1s"), Limit("b", rate="1/1s")])
    with pytest.raises(InvalidDefinition, match="expected one declaration, saw two"):
        workflow.add_state("ask", nothing, start=True, limits=[Limit("a", places=1), Limit("a", places=2)])


async def test_two_workflows_that_declare_one_limit_differently_are_refused(open_lab: OpenLab) -> None:
    one, two = asking(World(), {}, Limit("llm", places=1)), Workflow("other", data=dict, limits=Limit("llm", places=2))
    two.add_state("work", nothing, start=True, to="end")
    two.final("end")
    lab = await open_lab()
    with pytest.raises(InvalidDefinition, match="expected one declaration, saw two"):
        await lab.restart(one, two)


@EVERYWHERE
async def test_a_handler_takes_a_place_for_a_block(open_lab: OpenLab) -> None:
    """Blocks and states count together; the block of a handler that began again need not wait for its former self."""
    world, limit = World(), Limit("llm", places=1)
    lab = await open_lab()
    gates = {name: lab.gate() for name in "ab"}
    workflow = Workflow("ask", data=dict)

    @workflow.state("ask", start=True, to="end")
    async def ask(ctx: RunContext) -> None:
        async with ctx.place(limit):
            world.do(ctx.input)
            await gates[ctx.input].wait()

    workflow.final("end")
    await lab.restart(workflow)
    runs = [await lab.start("ask", "a")]
    await lab.settle()  # blocks stand in no line: who asks first is first only where the other asks later
    runs.append(await lab.start("ask", "b"))
    await lab.settle()
    assert world.calls == {"a": 1}
    await lab.skip("60s")
    assert world.calls == {"a": 1}, "it is renewed"
    with pytest.raises(Unavailable, match="limit llm: waited 0 s; 0 runs wait in line, and there may be room in"):
        async with lab.client.place(limit, wait_max_s=0):
            raise AssertionError("there is no room")
    gates["a"].open()
    await lab.skip("2s")
    assert world.calls == {"a": 1, "b": 1}
    gates["b"].open()
    await lab.skip("2s")
    async with lab.client.place(limit, wait_max_s=0):
        pass
    for run in runs:
        assert (await lab.client.get(run.id)).status == "done"


@EVERYWHERE
async def test_blocks_spend_tokens_of_the_same_rate(open_lab: OpenLab) -> None:
    limit = Limit("llm", rate="1/10s")
    lab, gates = await opened(open_lab, World(), limit)
    async with lab.client.place(limit):
        pass
    with pytest.raises(Unavailable, match="there may be room in 10 s"):
        async with lab.client.place(limit, wait_max_s=0):
            raise AssertionError("there is no token")
    run = await lab.start("ask", {"name": "a"})
    gates["a"].open()
    await lab.skip("9s")
    assert (await run.refresh()).status == "waiting"
    await lab.skip("2s")
    assert (await run.refresh()).status == "done"


@EVERYWHERE
async def test_a_place_that_nobody_renews_lapses(open_lab: OpenLab) -> None:
    """The block's process is gone: its place is free once the lease ran out, and who stands in line is told by time."""
    limit = Limit("llm", places=1)
    world = World()
    lab, _ = await opened(open_lab, world, limit)
    book = await LimitBook.read(lab.engine.store, "main", "ana", {"llm": limit})
    book.take("llm", "block:gone", expires_at=book.now + 30)
    await lab.engine.store.commit(Scope.of_tenant("main"), Change(change_id="x", writes=book.change().puts))
    await lab.start("ask", {"name": "a"})
    await lab.skip("29s")
    assert world.calls == {}
    await lab.skip("2s")
    assert world.calls == {"a": 1}


@ON_MEMORY
async def test_where_a_queue_deals_the_work_out_a_turn_is_dealt_too(open_lab: OpenLab) -> None:
    """Each turn is told once, by a give-back and by the time of a token; and found where that word was lost."""
    world, dealt = World(), list[str]()
    limit = Limit("llm", places=1, rate="1/10s")
    lab, gates = await opened(open_lab, world, limit, deal=lambda run: dealt.append(run.id))
    runs = {name: await lab.start("ask", {"name": name}) for name in "abc"}
    await lab.settle()
    assert world.calls == {"a": 1}
    gates["a"].open()
    await lab.settle()
    assert dealt == [], "there is no token yet"
    await lab.skip("11s")
    assert dealt == [runs["b"].id]
    assert [run.id async for run in lab.engine.unclaimed()] == [runs["b"].id]
    assert await lab.engine.take_up(runs["c"].id, user=runs["c"].run.user) == "taken", "there is room"
    await lab.settle()
    assert world.calls == {"a": 1, "c": 1}
    assert await lab.engine.take_up(runs["b"].id, user=runs["b"].run.user) == "idle"
