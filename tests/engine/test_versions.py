"""New code and old runs: adopted, refused with the list of runs, migrated, or left to those who know them."""

from __future__ import annotations

import pytest

from holdfast import Engine, InvalidDefinition, NotFound, RunContext, Workflow
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Page, Query, Scope
from holdfast.store.memory import MemoryStore
from holdfast.testing import Gate, Lab
from holdfast.testing.watched import WatchedStore
from holdfast.workflow.model.run import CHART, MEMO, RUN
from tests.engine.journal import moves, told
from tests.engine.labs import ON_MEMORY, OpenLab, World, nothing


def flow(*, version: int = 1, review: str = "review", extra: bool = False, world: World | None = None) -> Workflow:
    """Works, waits, deploys. `extra` adds a state; `review` names the waiting one."""
    workflow = Workflow("flow", version=version, data=dict)
    workflow.add_state("work", nothing, start=True, to=review)
    workflow.wait(review, on={"approve": "check" if extra else "deploy"}, after={"400h": "deploy"})

    @workflow.state("deploy", to="end")
    async def deploy(ctx: RunContext) -> None:
        if world is not None:
            await ctx.step("deploy", world.do, f"deployed by version {version}")

    if extra:
        workflow.add_state("check", nothing, to="deploy")
    workflow.final("end")
    return workflow


async def waiting_run(lab: Lab) -> str:
    """A run that waits in its review, by its own id."""
    await (await lab.start("flow", id="T")).reach("review")
    return "T"


@ON_MEMORY
async def test_a_run_that_waits_14_days_goes_on_with_new_code(open_lab: OpenLab) -> None:
    lab = await open_lab(flow())
    await waiting_run(lab)
    for day in range(14):
        await lab.skip("1d")
        await lab.restart(flow(extra=day % 2 == 0))
    run = await lab.client.get("T")
    assert (run.state, run.run.version) == ("review", 1)
    await lab.restart(flow(extra=True))
    run = await lab.client.get("T")
    await run.send("approve", by="ana")
    await lab.settle()
    assert (await moves(await run.refresh()))[2:] == [
        "review -approve-> check",
        "check -check.done-> deploy",
        "deploy -deploy.done-> end",
    ]
    (adopted,) = await told(run, "adopted")
    assert (adopted["from_version"], adopted["to_version"]) == (1, 1)


async def test_a_run_that_is_cut_short_goes_on_with_new_code_and_its_memos(open_lab: OpenLab) -> None:
    world = World()

    def napping(*, extra: bool) -> Workflow:
        workflow = Workflow("nap", data=dict)

        @workflow.state("work", start=True, to="later" if extra else "end")
        async def work(ctx: RunContext) -> None:
            await ctx.step("first", world.do, "first")
            await ctx.sleep(5)

        if extra:
            workflow.add_state("later", nothing, to="end")
        workflow.final("end")
        return workflow

    lab = await open_lab(napping(extra=False))
    await lab.start("nap", id="T")
    await lab.skip("1s")
    await lab.restart(napping(extra=True))
    await lab.skip("5s")
    run = await lab.client.get("T")
    assert (run.state, world.calls["first"]) == ("end", 1)
    assert (await moves(run))[1:] == ["work -work.done-> later", "later -later.done-> end"]


async def test_dropping_a_state_with_live_runs_is_refused_with_the_list(open_lab: OpenLab) -> None:
    lab = await open_lab(flow())
    await waiting_run(lab)
    run = await lab.client.get("T")
    with pytest.raises(InvalidDefinition, match=r"1 live runs stand where this code has no state") as refusal:
        await lab.restart(flow(review="approval"))
    assert run.id in str(refusal.value)
    assert "(T, user tester) in review" in str(refusal.value)
    assert "workflow.migrate(from_version, {old: new})" in str(refusal.value)
    await lab.restart(flow())
    run = await lab.client.get("T")
    await run.send("approve", by="ana")
    await lab.settle()
    assert (await run.refresh()).state == "end", "the old code takes it on unharmed"


@pytest.mark.parametrize("version", [1, 2])
async def test_a_mapping_migrates_a_run_and_journals_it(open_lab: OpenLab, version: int) -> None:
    world = World()
    lab = await open_lab(flow())
    await waiting_run(lab)
    newer = flow(version=version, review="approval", world=world)
    newer.migrate(1, {"review": "approval"})
    await lab.restart(newer)
    run = await lab.client.get("T")
    assert (run.state, run.run.version, run.run.queue) == ("approval", version, f"flow@{version}")
    (row,) = await told(run, "migrated")
    assert (row["from_version"], row["to_version"]) == (1, version)
    await run.send("approve", by="ana")
    await lab.settle()
    assert ((await run.refresh()).state, world.calls) == ("end", {f"deployed by version {version}": 1})


@ON_MEMORY
async def test_the_timer_of_a_migrated_wait_still_fires(open_lab: OpenLab) -> None:
    lab = await open_lab(flow())
    await waiting_run(lab)
    await lab.skip("399h")
    newer = flow(version=2, review="approval")
    newer.migrate(1, {"review": "approval"})
    await lab.restart(newer)
    await lab.skip("1h")
    run = await lab.client.get("T")
    assert run.state == "end"


async def test_a_paused_run_stays_paused_when_it_is_migrated(open_lab: OpenLab) -> None:
    lab = await open_lab(flow())
    await (await lab.client.get(await waiting_run(lab))).pause(by="ops")
    newer = flow(version=2, review="approval")
    newer.migrate(1, {"review": "approval"})
    await lab.restart(newer)
    run = await lab.client.get("T")
    assert (run.status, run.state) == ("paused", "approval")
    await run.resume(by="ops")
    await run.send("approve", by="ana")
    await lab.settle()
    assert (await run.refresh()).state == "end"


async def test_a_waiting_state_that_became_a_working_one_is_worked_on(open_lab: OpenLab) -> None:
    lab = await open_lab(flow())
    await waiting_run(lab)
    newer = flow(version=2, review="approval")
    newer.migrate(1, {"review": "deploy"})
    await lab.restart(newer)
    await lab.settle()
    assert (await lab.client.get("T")).state == "end"


async def test_a_version_nobody_here_knows_is_left_to_those_who_do(open_lab: OpenLab) -> None:
    world = World()
    lab = await open_lab(flow(world=world))
    await waiting_run(lab)
    await lab.restart(flow(version=2, world=world))
    run = await lab.client.get("T")
    assert (run.state, run.run.version) == ("review", 1), "it can be looked at"
    assert run.data == {}
    with pytest.raises(NotFound, match="does not know flow@1; it knows flow@2"):
        await run.send("approve", by="ana")
    await lab.settle()
    await lab.restart(flow(world=world), flow(version=2, world=world))
    old = await lab.client.get("T")
    await old.send("approve", by="ana")
    new = await lab.start("flow")
    assert new.run.version == 2, "new runs get the newest"
    await lab.settle()
    assert ((await old.refresh()).state, world.calls) == ("end", {"deployed by version 1": 1})


async def test_a_running_run_of_an_unknown_version_stays_for_those_who_know_it(open_lab: OpenLab) -> None:
    world = World()

    def napping(version: int) -> Workflow:
        workflow = Workflow("nap", version=version)

        @workflow.state("work", start=True, to="end")
        async def work(ctx: RunContext) -> None:
            await ctx.sleep(1)
            world.do(f"version {version}")

        workflow.final("end")
        return workflow

    lab = await open_lab(napping(1))
    await lab.start("nap", id="T")
    await lab.settle()
    await lab.restart(napping(2))
    await lab.skip("3s")
    assert ((await lab.client.get("T")).status, world.calls) == ("running", {})
    await lab.restart(napping(1), napping(2))
    await lab.skip("1s")
    assert ((await lab.client.get("T")).status, world.calls) == ("done", {"version 1": 1})


async def test_charts_are_kept_by_name_version_and_hash(open_lab: OpenLab) -> None:
    lab = await open_lab(flow())
    await waiting_run(lab)
    run = await lab.client.get("T")
    await lab.restart(flow(extra=True))
    kept = await lab.store.scan(Scope.system(), Query(kind=CHART))
    hashes = {record.key.id for record in kept.records}
    assert len(hashes) == 2
    assert f"flow@1#{run.run.configuration.chart_hash}" in hashes


class Listing(WatchedStore):
    """Remembers which runs were listed."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.runs: set[str] = set()

    async def scan(self, scope: Scope, query: Query, *, after: str | None = None, limit: int = 100) -> Page:
        page = await super().scan(scope, query, after=after, limit=limit)
        self.runs |= {record.key.id for record in page.records if record.key.kind == RUN}
        return page


async def test_runs_that_fit_in_any_case_are_not_looked_at_when_code_starts() -> None:
    store = MemoryStore()
    async with Engine(store, flow()) as engine:
        for _ in range(5):
            await (await engine.start("flow")).reach("review")
    same = Listing(store)
    async with Engine(same, flow()):
        assert len(same.runs) <= 1, "the one that falls due next is the alarm's"
    grown = Listing(store)
    async with Engine(grown, flow(extra=True)):
        assert len(grown.runs) <= 1, "all states of the other code are there"
    gone = Listing(store)
    with pytest.raises(InvalidDefinition, match="5 live runs"):
        await Engine(gone, flow(review="approval")).__aenter__()
    assert len(gone.runs) == 5
    await store.close()


async def test_a_run_that_a_door_began_is_found_by_other_code() -> None:
    store = MemoryStore()
    async with Engine(store, flow(), works=False) as door:
        await door.start("flow", id="T")
    other = Workflow("flow", data=dict)
    other.add_state("begin", nothing, start=True, to="end")
    other.final("end")
    with pytest.raises(InvalidDefinition, match=r"\(T, user local\) in work"):
        await Engine(store, other).__aenter__()
    await store.close()


def test_the_same_version_twice_is_refused() -> None:
    with pytest.raises(InvalidDefinition, match="workflow flow@1 is given twice; raise the version of one"):
        Engine("memory:", flow(), flow())


async def test_a_step_that_was_done_before_its_state_was_renamed_is_not_done_again(open_lab: OpenLab) -> None:
    world = World()
    lab = await open_lab()
    gate = lab.gate()
    await lab.restart(renamed(world, gate, version=1, state="fix"))
    await lab.start("renamed", id="T")
    await lab.settle()
    await lab.restart(renamed(world, gate, version=2, state="repair", was={1: {"fix": "repair"}}))
    await lab.settle()
    await lab.restart(renamed(world, gate, version=3, state="mend", was={2: {"repair": "mend"}}))
    await lab.settle()
    run = await lab.client.get("T")
    assert (run.run.version, run.state, world.keys) == (3, "mend", {"open": [f"{run.id}/fix#1/open"]})
    gate.open()
    await run.reach("end")
    await lab.settle()
    assert world.keys["close"] == [f"{run.id}/fix#1/close"], "a visit has one name for the outside world"
    assert not (await lab.store.scan(Scope.system(), Query(kind=MEMO))).records


@ON_MEMORY
async def test_a_lock_is_given_back_by_a_state_that_was_renamed_meanwhile(open_lab: OpenLab) -> None:
    world = World()
    lab = await open_lab()
    gate = lab.gate()
    await lab.restart(renamed(world, gate, version=1, state="fix"))
    await lab.start("renamed", id="T")
    await lab.settle()
    await lab.restart(renamed(world, gate, version=2, state="repair", was={1: {"fix": "repair"}}))
    await lab.settle()
    await lab.start("renamed", id="next")
    gate.open()
    await lab.settle()
    assert [(await lab.client.get(ticket)).status for ticket in ("T", "next")] == ["done", "done"]


def renamed(
    world: World, gate: Gate, *, version: int, state: str, was: dict[int, dict[str, str]] | None = None
) -> Workflow:
    """Opens, waits at the gate and closes, in one state that holds a lock."""
    workflow = Workflow("renamed", version=version, data=dict)

    @workflow.state(state, start=True, to="end", lock=lambda data: ("repository", "r"))
    async def work(ctx: RunContext) -> None:
        await ctx.step("open", world.make, "open")
        await gate.wait()
        await ctx.step("close", world.make, "close")

    workflow.final("end")
    for before, states in (was or {}).items():
        workflow.migrate(before, states)
    return workflow
