"""Steps: run once a visit, remembered by name and by type, durable before the next body, fused with the transition."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from holdfast import Retry, RunContext, Workflow
from holdfast.clock import utc
from holdfast.store.contract.records import Query, Scope
from holdfast.testing import Lab
from holdfast.workflow.model.run import MEMO
from tests.engine.journal import facts, told
from tests.engine.labs import OpenLab, World


class Finding(msgspec.Struct, frozen=True):
    """A typed result."""

    cause: str
    confidence: float
    seen: tuple[str, ...] = ()


@dataclass
class Patch:
    """Another one, mutable."""

    path: str
    at: datetime


FINDING = Finding("memory", 0.9, ("a", "b"))


def find() -> Finding:
    return FINDING


def patch() -> list[Patch]:
    return [Patch("a.yaml", utc(0) + timedelta(hours=1))]


def counts() -> dict[int, set[str]]:
    return {1: {"x"}}


def untyped():  # type: ignore[no-untyped-def]
    return (1, "two")


RESULTS: list[tuple[Any, Any]] = [
    (find, FINDING),
    (patch, patch()),
    (counts, {1: {"x"}}),
    (untyped, [1, "two"]),
    (lambda: None, None),
]


async def test_a_result_has_the_same_type_on_the_first_run_and_ever_after(open_lab: OpenLab) -> None:
    seen: list[list[Any]] = []
    workflow = Workflow("types", retry=Retry(attempts_max=3, first_s=1))

    @workflow.state("work", start=True, to="end")
    async def work(ctx: RunContext) -> None:
        seen.append([await ctx.step(f"step-{place}", function) for place, (function, _) in enumerate(RESULTS)])
        if ctx.attempt < 3:
            raise ConnectionError("again")

    workflow.final("end")
    lab = await open_lab(workflow)
    await lab.start("types", id="T")
    await lab.settle()
    await lab.restart()
    await lab.skip("10s")
    assert (await lab.client.get("T")).status == "done"
    assert seen == [[expected for _, expected in RESULTS]] * 3
    assert [[type(value) for value in attempt] for attempt in seen] == [[type(v) for _, v in RESULTS]] * 3


async def test_steps_that_finish_in_varying_order_give_the_same_results_when_resumed(open_lab: OpenLab) -> None:
    world = World()
    seen: list[list[int]] = []
    workflow = Workflow("fan")
    lab = await open_lab()
    gate = lab.gate()

    async def fetch(item: int) -> int:
        world.do(f"fetch {item}")
        await lab.clock.sleep(10 - item)
        if item == 2:
            await gate.wait()
        return item * item

    @workflow.state("work", start=True, to="end")
    async def work(ctx: RunContext) -> None:
        seen.append(await ctx.map("fetch", fetch, range(5), key=str, concurrency=3))

    workflow.final("end")
    await lab.restart(workflow)
    await lab.start("fan", id="T")
    await lab.skip("30s")
    await lab.restart()
    gate.open()
    await lab.skip("30s")
    assert seen == [[0, 1, 4, 9, 16]]
    assert world.calls == {"fetch 0": 1, "fetch 1": 1, "fetch 2": 2, "fetch 3": 1, "fetch 4": 1}


async def test_map_runs_so_many_side_by_side_and_the_first_failure_ends_the_others(open_lab: OpenLab) -> None:
    world = World()
    at_once: list[int] = []
    workflow = Workflow("fan", retry=Retry(attempts_max=2, first_s=1))
    lab = await open_lab()
    running: set[int] = set()

    async def fetch(item: int) -> int:
        running.add(item)
        at_once.append(len(running))
        try:
            await lab.clock.sleep(1)
            if item == 5 and world.do("five") == 1:
                raise ConnectionError("five")
            world.do(f"done {item}")
            return item
        finally:
            running.discard(item)

    @workflow.state("work", start=True, to="end")
    async def work(ctx: RunContext) -> None:
        ctx.data["items"] = await ctx.map("fetch", fetch, range(8), key=str, concurrency=4)

    workflow.final("end")
    await lab.restart(workflow)
    run = await lab.start("fan")
    await lab.skip("10s")
    assert (await run.refresh()).data == {"items": list(range(8))}
    assert max(at_once) == 4
    assert all(world.calls[f"done {item}"] == 1 for item in range(8))
    assert running == set()


async def test_map_needs_a_different_key_for_each_item(open_lab: OpenLab) -> None:
    workflow = Workflow("fan")

    @workflow.state("work", start=True, to="end")
    async def work(ctx: RunContext) -> None:
        await ctx.map("fetch", str, [1, 1], key=str)

    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("fan")
    await lab.settle()
    assert (await run.refresh()).status == "failed"
    assert "expected a different key for each item, saw ['1', '1']" in run.run.reason


async def test_a_name_that_repeats_at_one_time_is_refused(open_lab: OpenLab) -> None:
    workflow = Workflow("twice")
    lab = await open_lab()

    async def slow() -> int:
        await lab.clock.sleep(1)
        return 1

    @workflow.state("work", start=True, to="end")
    async def work(ctx: RunContext) -> None:
        await asyncio.gather(ctx.step("fetch", slow), ctx.step("fetch", slow))

    workflow.final("end")
    await lab.restart(workflow)
    run = await lab.start("twice")
    await lab.skip("5s")
    assert (await run.refresh()).status == "failed"
    assert "step 'fetch' ran twice in one visit; give repeated steps a key=" in run.run.reason


async def test_a_repeated_step_with_a_key_runs_for_each_key(open_lab: OpenLab) -> None:
    world = World()
    workflow = Workflow("keys", data=dict)

    @workflow.state("work", start=True, to="end")
    async def work(ctx: RunContext) -> None:
        ctx.data["made"] = [await ctx.step("make", world.make, "thing", key=name) for name in ("a", "b", "a")]

    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("keys")
    await lab.settle()
    assert (await run.refresh()).data == {"made": ["thing-1", "thing-2", "thing-1"]}
    assert world.keys["thing"] == [f"{run.id}/work#1/make/a", f"{run.id}/work#1/make/b"]


async def commits_of(lab: Lab, run: str) -> int:
    """The commits that one run of a workflow takes from its start to its end."""
    before = lab.calls["commit"]
    await lab.start(run)
    await lab.settle()
    return lab.calls["commit"] - before


@pytest.mark.parametrize(("steps", "commits"), [(0, 2), (1, 2), (2, 3), (10, 11)])
async def test_the_last_memo_and_the_transition_are_one_commit(open_lab: OpenLab, steps: int, commits: int) -> None:
    """One commit starts the run, one keeps each memo before the next body, the last goes with the transition."""
    workflow = Workflow("fused")

    async def quick() -> int:
        return 1

    @workflow.state("work", start=True, to="end")
    async def work(ctx: RunContext) -> None:
        for number in range(steps):
            await ctx.step(f"step-{number}", quick)

    workflow.final("end")
    lab = await open_lab(workflow)
    assert await commits_of(lab, "fused") == commits


async def test_notes_are_told_in_order_with_the_transition(open_lab: OpenLab) -> None:
    workflow = Workflow("noted")

    @workflow.state("work", start=True, to="end")
    async def work(ctx: RunContext) -> None:
        ctx.note("looked", pods=3)
        ctx.note("found", cause="memory")

    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("noted")
    await lab.settle()
    assert await told(run, "note") == [{"text": "looked", "pods": 3}, {"text": "found", "cause": "memory"}]
    events = await run.history()
    assert [event.name for event in events] == ["transition", "note", "note", "transition"]
    assert {facts(event)["agent"] for event in events if event.name == "note"} == {"work"}


async def test_a_note_is_told_while_the_handler_still_works(open_lab: OpenLab) -> None:
    workflow = Workflow("noted")

    @workflow.state("work", start=True, to="end")
    async def work(ctx: RunContext) -> None:
        ctx.note("begun")
        await ctx.sleep(5)

    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("noted")
    await lab.skip("1s")
    assert await told(run, "note") == [{"text": "begun"}]
    assert (await run.refresh()).state == "work"


async def test_memos_of_a_visit_that_is_over_are_gone(open_lab: OpenLab) -> None:
    world = World()
    workflow = Workflow("rounds")

    @workflow.state("work", start=True, to="review")
    async def work(ctx: RunContext) -> None:
        await ctx.step("first", world.do, "first")
        await ctx.step("second", world.do, "second")

    workflow.wait("review", on={"again": "work", "merge": "end"})
    workflow.final("end")
    lab = await open_lab(workflow)
    run = await (await lab.start("rounds")).reach("review")
    await run.send("again", by="ana")
    await lab.settle()
    assert world.calls == {"first": 2, "second": 2}
    page = await lab.store.scan(Scope.system(), Query(kind=MEMO))
    assert page.records == ()


async def test_data_replaced_as_a_whole_is_kept(open_lab: OpenLab) -> None:
    class Incident(msgspec.Struct):
        text: str = ""
        tags: list[str] = []

    workflow = Workflow("typed", data=Incident)

    @workflow.state("work", start=True, to="end")
    async def work(ctx: RunContext) -> None:
        assert isinstance(ctx.data, Incident)
        ctx.data = Incident(text=ctx.input["text"], tags=["seen"])

    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("typed", {"text": "pods restart"})
    await lab.settle()
    data = (await run.refresh()).data
    assert isinstance(data, Incident)
    assert (data.text, data.tags) == ("pods restart", ["seen"])


async def test_what_a_failed_attempt_changed_of_the_data_is_forgotten(open_lab: OpenLab) -> None:
    workflow = Workflow("typed", data=dict, retry=Retry(first_s=1))

    @workflow.state("work", start=True, to="end")
    async def work(ctx: RunContext) -> None:
        ctx.data.setdefault("attempts", []).append(ctx.attempt)
        if ctx.attempt == 1:
            raise ConnectionError("again")

    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("typed")
    await lab.skip("1s")
    assert (await run.refresh()).data == {"attempts": [2]}
