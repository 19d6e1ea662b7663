"""Parallel regions: apart in failure, together in the end; joins, merged data, and histories."""

from __future__ import annotations

import asyncio
from itertools import permutations

import pytest

from holdfast import Join, Retry, RunContext, Workflow
from tests.engine.journal import moves
from tests.engine.labs import OpenLab, World, nothing

REGIONS = ("code", "k8s", "logs")


def analysis(world: World, naps_s: dict[str, float], failures: dict[str, int], join: Join | None = None) -> Workflow:
    """Three regions that take `naps_s` seconds and fail `failures` times; each writes a field of its own."""
    workflow = Workflow("analysis", data=dict, retry=Retry(jitter=0))
    workflow.parallel("analysis", to="decide", start=True, join=join, after={"20s": "late"})

    def region(name: str) -> None:
        @workflow.state(f"analysis.{name}")
        async def work(ctx: RunContext) -> None:
            await ctx.step("begin", world.do, f"{name} began")
            try:
                await ctx.sleep(naps_s.get(name, 0))
            except asyncio.CancelledError:
                world.do(f"{name} stopped")
                raise
            if world.do(f"{name} ended") <= failures.get(name, 0):
                raise ConnectionError(name)
            ctx.data[name] = "done"

    for name in REGIONS:
        region(name)
    workflow.add_state("decide", nothing, to="end")
    workflow.final("end", "late")
    return workflow


async def test_a_region_that_is_done_is_not_run_again_while_another_retries_and_a_third_goes_on(
    open_lab: OpenLab,
) -> None:
    world = World()
    lab = await open_lab(analysis(world, {"logs": 4}, {"code": 1}))
    run = await lab.start("analysis")
    await lab.skip("1s")
    assert set((await run.refresh()).states) == {"analysis.code", "analysis.logs"}
    assert world.calls == {"code began": 1, "code ended": 1, "k8s began": 1, "k8s ended": 1, "logs began": 1}
    await lab.skip("1s")
    assert (await run.refresh()).state.startswith("analysis"), "logs is not done yet"
    await lab.skip("2s")
    assert (await run.refresh()).state == "end"
    assert world.calls["code began"] == 1, "its step was remembered by the second attempt"
    assert (world.calls["code ended"], world.calls["k8s ended"], world.calls["logs ended"]) == (2, 1, 1)
    assert world.calls["logs stopped"] == 0
    assert run.data == dict.fromkeys(REGIONS, "done")
    assert len([move for move in await moves(run) if move.endswith("-analysis.done-> decide")]) == 1


@pytest.mark.parametrize("order", list(permutations(REGIONS)), ids="-".join)
async def test_the_join_fires_once_whichever_finishes_last(open_lab: OpenLab, order: tuple[str, ...]) -> None:
    world = World()
    lab = await open_lab(analysis(world, {name: place + 1.0 for place, name in enumerate(order)}, {}))
    run = await lab.start("analysis")
    await lab.skip("2s")
    assert (await run.refresh()).state.startswith("analysis")
    await lab.skip("1s")
    assert (await run.refresh()).state == "end"
    assert len([move for move in await moves(run) if move.endswith("-> decide")]) == 1
    assert all(world.calls[f"{name} ended"] == 1 for name in REGIONS)


async def test_the_join_fires_once_across_a_restart(open_lab: OpenLab) -> None:
    world = World()
    lab = await open_lab(analysis(world, {"logs": 3}, {"code": 1}))
    await lab.start("analysis", id="T")
    await lab.skip("1s")
    await lab.restart()
    await lab.skip("1s")
    run = await lab.client.get("T")
    assert world.calls["code ended"] == 2, "its back-off went on"
    assert run.state.startswith("analysis")
    await lab.restart()
    await lab.skip("3s")
    assert (await (await lab.client.get("T")).refresh()).state == "end"
    assert (world.calls["k8s began"], world.calls["code began"], world.calls["logs began"]) == (1, 1, 1)
    assert len([move for move in await moves(run) if move.endswith("-> decide")]) == 1


async def test_any_goes_on_with_the_first_and_stops_the_others(open_lab: OpenLab) -> None:
    world = World()
    lab = await open_lab(analysis(world, {"code": 9, "k8s": 1, "logs": 9}, {}, Join(kind="any")))
    run = await lab.start("analysis")
    await lab.skip("1s")
    assert (await run.refresh()).state == "end"
    assert (world.calls["code stopped"], world.calls["logs stopped"]) == (1, 1)
    assert run.data == {"k8s": "done"}


async def test_a_quorum_goes_on_with_so_many(open_lab: OpenLab) -> None:
    world = World()
    lab = await open_lab(analysis(world, {"code": 9, "k8s": 1, "logs": 2}, {}, Join(kind="quorum", count=2)))
    run = await lab.start("analysis")
    await lab.skip("1s")
    assert (await run.refresh()).state.startswith("analysis")
    await lab.skip("1s")
    assert (await run.refresh()).state == "end"
    assert world.calls["code stopped"] == 1


async def test_a_join_has_a_deadline(open_lab: OpenLab) -> None:
    world = World()
    lab = await open_lab(analysis(world, {"code": 60}, {}))
    run = await lab.start("analysis")
    await lab.skip("20s")
    assert (await run.refresh()).state == "late"
    assert world.calls["code stopped"] == 1
    assert run.data == {"k8s": "done", "logs": "done"}, "what was done stays"


async def test_a_region_that_gives_up_ends_the_others(open_lab: OpenLab) -> None:
    world = World()
    workflow = analysis(world, {"logs": 9}, {"code": 9})
    workflow.escalate_to = "human"
    workflow.wait("human", on={"close": "end"})
    lab = await open_lab(workflow)
    run = await lab.start("analysis")
    await lab.skip("8s")
    assert (await run.refresh()).state.startswith("analysis")
    await lab.skip("6s")
    assert (await run.refresh()).state == "human"
    assert (world.calls["logs ended"], world.calls["code ended"]) == (1, 4)


async def test_regions_that_write_the_same_place_differently_fail_with_its_name(open_lab: OpenLab) -> None:
    workflow = Workflow("clash", data=dict)
    workflow.parallel("both", to="end", start=True)

    def region(name: str) -> None:
        @workflow.state(f"both.{name}")
        async def work(ctx: RunContext) -> None:
            await ctx.sleep(1)
            ctx.data["cause"] = {"found_by": name}

    region("left")
    region("right")
    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("clash")
    await lab.skip("1s")
    await run.refresh()
    assert run.status == "failed"
    assert "another region changed the same data: /cause" in run.run.reason
    assert run.data == {"cause": {"found_by": "left"}}


async def test_regions_that_write_the_same_place_alike_agree(open_lab: OpenLab) -> None:
    workflow = Workflow("agree", data=dict)
    workflow.parallel("both", to="end", start=True)

    def region(name: str) -> None:
        @workflow.state(f"both.{name}")
        async def work(ctx: RunContext) -> None:
            await ctx.sleep(1)
            ctx.data["cause"] = "memory"

    region("left")
    region("right")
    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("agree")
    await lab.skip("1s")
    assert ((await run.refresh()).status, run.data) == ("done", {"cause": "memory"})


async def test_a_history_state_returns_to_where_its_parent_was_left(open_lab: OpenLab) -> None:
    world = World()
    workflow = Workflow("interrupted")
    workflow.compound("work", start=True, on={"hold": "held"})
    lab = await open_lab()
    gates = {"first": lab.gate(), "second": lab.gate()}

    def state(name: str, to: str, *, start: bool = False) -> None:
        @workflow.state(f"work.{name}", to=to, start=start)
        async def work(ctx: RunContext) -> None:
            world.do(name)
            await gates[name].wait()

    state("first", "work.second", start=True)
    state("second", "end")
    workflow.history("work.last", to="work.first")
    workflow.wait("held", on={"go_on": "work.last"})
    workflow.final("end")
    await lab.restart(workflow)
    run = await lab.start("interrupted")
    gates["first"].open()
    await lab.settle()
    await run.refresh()
    await run.send("hold", by="ana")
    assert run.state == "held"
    await run.send("go_on", by="ana")
    await lab.settle()
    assert (await run.refresh()).state == "work.second"
    gates["second"].open()
    await lab.settle()
    assert (await run.refresh()).state == "end"
    assert world.calls == {"first": 1, "second": 2}


async def test_deep_history_returns_to_both_regions(open_lab: OpenLab) -> None:
    workflow = Workflow("deep")
    workflow.compound("work", start=True, on={"hold": "held"})
    workflow.parallel("work.both", start=True, to="end")
    for region in ("left", "right"):
        workflow.wait(f"work.both.{region}.one", start=True, on={f"{region}_on": f"work.both.{region}.two"})
        workflow.wait(f"work.both.{region}.two", on={f"{region}_done": f"work.both.{region}.over"})
        workflow.final(f"work.both.{region}.over")
    workflow.history("work.last", to="work.both")
    workflow.wait("held", on={"go_on": "work.last"})
    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("deep")
    await run.send("left_on", by="ana")
    await run.send("hold", by="ana")
    await run.send("go_on", by="ana")
    assert run.states == ("work.both.left.two", "work.both.right.one")
    for name in ("left_done", "right_on", "right_done"):
        await run.send(name, by="ana")
    assert run.state == "end"
