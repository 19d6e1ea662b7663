"""The doors: starting is idempotent, users are apart, operators are seen, and bad input is told what is wrong."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from holdfast import (
    Conflict,
    Engine,
    InvalidDefinition,
    InvalidInput,
    InvalidTransition,
    NotFound,
    RecoveryManager,
    Rejected,
    RunContext,
    Unavailable,
    UserExecutionContext,
    Workflow,
    WrongContext,
)
from tests.engine.journal import facts, moves
from tests.engine.labs import OpenLab, World, nothing


def review(world: World | None = None) -> Workflow:
    workflow = Workflow("review", data=dict)

    @workflow.state("draft", start=True, to="open")
    async def draft(ctx: RunContext) -> None:
        if world is not None:
            world.do(f"{ctx.user.user}:{ctx.ticket_id}")

    workflow.wait("open", on={"approve": "end"})
    workflow.final("end")
    return workflow


# -- starting ---------------------------------------------------------------------------------------------------


async def test_the_same_id_and_input_is_one_run(open_lab: OpenLab) -> None:
    world = World()
    lab = await open_lab(review(world))
    one = await lab.start("review", {"text": "x"}, id="T")
    two = await lab.start("review", {"text": "x"}, id="T")
    await lab.settle()
    again = await lab.start("review", {"text": "x"}, id="T")
    assert one.id == two.id == again.id
    assert world.calls == {"tester:T": 1}
    assert again.state == "open", "the handle shows the run as it is by now"


async def test_the_same_id_with_another_input_is_a_conflict(open_lab: OpenLab) -> None:
    lab = await open_lab(review())
    run = await lab.start("review", {"text": "x"}, id="T")
    with pytest.raises(Conflict, match=f"the id 'T' is taken by run {run.id}, which was started with another input"):
        await lab.start("review", {"text": "y"}, id="T")


async def test_the_same_id_at_one_moment_is_one_run(open_lab: OpenLab) -> None:
    world = World()
    lab = await open_lab(review(world))
    runs = await asyncio.gather(*(lab.start("review", {"text": "x"}, id="T") for _ in range(8)))
    await lab.settle()
    assert len({run.id for run in runs}) == 1
    assert world.calls == {"tester:T": 1}


async def test_a_sweep_by_hand_takes_up_nothing_twice(open_lab: OpenLab) -> None:
    world = World()
    lab = await open_lab(review(world))
    await lab.start("review", id="T")
    await lab.settle()
    assert isinstance(lab.engine.inside.recovery, RecoveryManager)
    assert await asyncio.gather(*(lab.engine.recover_active_workflows() for _ in range(3))) == [[], [], []]
    await lab.settle()
    assert world.calls == {"tester:T": 1}


async def test_an_id_is_kept_after_the_end(open_lab: OpenLab) -> None:
    lab = await open_lab(review())
    run = await (await lab.start("review", id="T")).reach("open")
    await run.send("approve", by="ana")
    assert (await lab.start("review", id="T")).id == run.id


async def test_the_same_id_in_another_workflow_is_another_run(open_lab: OpenLab) -> None:
    other = Workflow("other")
    other.add_state("work", nothing, start=True, to="end")
    other.final("end")
    lab = await open_lab(review(), other)
    one, two = await lab.start("review", id="T"), await lab.start("other", id="T")
    assert one.id != two.id
    with pytest.raises(Rejected, match="several runs have this id"):
        await lab.client.get("T")
    assert (await lab.client.get("T", workflow="other")).id == two.id


# -- users ------------------------------------------------------------------------------------------------------


async def test_the_same_ticket_of_two_users_is_two_runs(open_lab: OpenLab) -> None:
    world = World()
    lab = await open_lab(review(world))
    ana, bob = lab.engine.client("ana"), lab.engine.client("bob")
    one, two = await ana.start("review", id="T"), await bob.start("review", id="T")
    await lab.settle()
    assert one.id != two.id
    assert world.calls == {"ana:T": 1, "bob:T": 1}
    assert ((await ana.get("T")).id, (await bob.get("T")).id) == (one.id, two.id)


async def test_another_users_run_does_not_exist(open_lab: OpenLab) -> None:
    lab = await open_lab(review())
    ana, bob = lab.engine.client("ana"), lab.engine.client("bob")
    run = await (await ana.start("review", id="T-ana")).reach("open")
    before = run.version
    assert (await bob.runs()) == ([], None)
    for ref in (run.id, "T-ana"):
        for attempt in (
            bob.get(ref), bob.events(ref), bob.cancel(ref), bob.pause(ref), bob.resume(ref), bob.fork(ref),
            bob.checkpoint(ref, "x"), bob.checkpoints(ref), bob.state_at(ref, 1),
            bob.send(ref, "approve", by="bob", state="open", visit=1),
        ):  # fmt: skip
            with pytest.raises(NotFound, match=f"run {ref}: there is no such run"):
                await attempt
    assert (await run.refresh()).version == before


async def test_tenants_are_apart_even_for_operators(open_lab: OpenLab) -> None:
    lab = await open_lab(review())
    here = await lab.engine.client("ana").start("review", id="T")
    there = await lab.engine.client("ana", tenant="acme").start("review", id="T")
    await lab.settle()
    assert [run.id for run in (await lab.engine.operator("ops").runs())[0]] == [here.id]
    assert [run.id for run in (await lab.engine.operator("ops", tenant="acme").runs())[0]] == [there.id]


async def test_an_operator_sees_all_users_and_is_named_in_the_journal(open_lab: OpenLab) -> None:
    lab = await open_lab(review())
    for user in ("ana", "bob"):
        await (await lab.engine.client(user).start("review", id=f"T-{user}")).reach("open")
    ops = lab.engine.operator("ops")
    assert {run.run.user for run in (await ops.runs())[0]} == {"ana", "bob"}
    await ops.cancel("T-bob", reason="duplicate")
    last = facts((await ops.events("T-bob"))[-1])
    assert (last["agent"], last["metadata"]) == ("ops", {"reason": "duplicate"})
    with pytest.raises(Rejected, match="an operator cannot start runs"):
        await ops.start("review")


async def test_a_context_is_a_door_and_nothing_else_is(open_lab: OpenLab) -> None:
    lab = await open_lab(review())
    context = UserExecutionContext(user="ana", request="r-1")
    run = await lab.engine.client(context=context).start("review")
    assert (run.run.user, run.run.started_by) == ("ana", "ana")
    with pytest.raises(WrongContext, match="must be UserExecutionContext, saw dict"):
        lab.engine.client(context={"user": "ana"})  # type: ignore[arg-type]


# -- finding ----------------------------------------------------------------------------------------------------


async def test_runs_are_listed_by_label_status_and_workflow_page_by_page(open_lab: OpenLab) -> None:
    lab = await open_lab(review())
    for number in range(5):
        labels = {"severity": "high" if number % 2 else "low"}
        await lab.start("review", id=f"T-{number}", labels=labels)
    await lab.settle()
    high, _ = await lab.client.runs(labels={"severity": "high"})
    assert {run.ticket_id for run in high} == {"T-1", "T-3"}
    await high[0].cancel(by="ana")
    assert len((await lab.client.runs(statuses=("cancelled",)))[0]) == 1
    assert len((await lab.client.runs(workflow="review", statuses=("waiting",)))[0]) == 4
    assert (await lab.client.runs(workflow="unheard")) == ([], None)
    first, after = await lab.client.runs(limit=3)
    rest, end = await lab.client.runs(limit=3, after=after)
    assert len({run.id for run in (*first, *rest)}) == 5
    assert end is None


async def test_a_users_stream_tells_every_row_in_order(open_lab: OpenLab) -> None:
    lab = await open_lab(review())
    runs = [await lab.start("review", id=f"T-{number}") for number in range(3)]
    await lab.settle()
    await lab.engine.client("bob").start("review")
    await lab.settle()
    told = []
    async for event in lab.client.follow():
        told.append(event)
        if len(told) == 6:
            break
    assert {event.key.id for event in told} == {run.id for run in runs}
    assert [event.position for event in told] == sorted(event.position for event in told)
    for run in runs:
        assert [event for event in told if event.key.id == run.id] == await run.history()


async def test_reach_tells_when_it_cannot_happen_any_more(open_lab: OpenLab) -> None:
    lab = await open_lab(review())
    run = await (await lab.start("review")).reach("open")
    await run.cancel(by="ana", reason="wrong")
    with pytest.raises(Rejected, match="expected it to reach end, but it is cancelled in cancelled: wrong"):
        await run.reach("end")


# -- bad input --------------------------------------------------------------------------------------------------


async def test_an_unknown_workflow_is_told_with_the_known_ones(open_lab: OpenLab) -> None:
    lab = await open_lab(review())
    with pytest.raises(NotFound, match="workflow revue: not known here; known: review@1"):
        await lab.start("revue")
    with pytest.raises(NotFound, match="workflow review@7: not known here"):
        await lab.start("review", version=7)


@pytest.mark.parametrize(
    ("input", "reason"),
    [
        (object(), "input of workflow review: expected a value that JSON can hold, saw object"),
        (float("inf"), "expected finite numbers"),
        ("x" * (32 * 1024 * 1024), "expected at most 33554432 bytes, saw 33554434; store big things elsewhere"),
    ],
    ids=["object", "infinity", "32 MB"],
)
async def test_an_input_that_cannot_be_kept_starts_nothing(open_lab: OpenLab, input: Any, reason: str) -> None:
    lab = await open_lab(review())
    with pytest.raises(InvalidInput, match=reason):
        await lab.start("review", input, id="T")
    assert await lab.client.runs() == ([], None)
    assert (await lab.start("review", "small", id="T")).ticket_id == "T", "the id is still free"


@pytest.mark.parametrize("id", ["", "none", "a\nb", "x" * 201])
async def test_an_id_that_names_nothing_is_refused(open_lab: OpenLab, id: str) -> None:
    lab = await open_lab(review())
    with pytest.raises(InvalidInput, match=r"^id: expected"):
        await lab.start("review", id=id)


async def test_first_data_must_fit_the_type(open_lab: OpenLab) -> None:
    class Incident(msgspec.Struct):
        text: str

    workflow = Workflow("typed", data=Incident)
    workflow.add_state("work", nothing, start=True, to="end")
    workflow.final("end")
    lab = await open_lab(workflow)
    with pytest.raises(InvalidInput, match="its data type Incident has fields without defaults"):
        await lab.start("typed")
    with pytest.raises(InvalidInput, match="data of workflow typed: expected"):
        await lab.start("typed", data={"text": 7})
    run = await lab.start("typed", data=Incident("pods restart"))
    assert run.data == Incident("pods restart")


async def test_a_signal_that_cannot_be_kept_changes_nothing(open_lab: OpenLab) -> None:
    lab = await open_lab(review())
    run = await (await lab.start("review")).reach("open")
    with pytest.raises(InvalidInput, match="data of signal approve: expected"):
        await run.send("approve", by="ana", data=object())
    with pytest.raises(InvalidInput, match=r"^by: expected a real id"):
        await run.send("approve", by="")
    with pytest.raises(InvalidTransition, match="state opne does not take 'approve'; open does"):
        await lab.client.send(run.id, "approve", by="ana", state="opne", visit=1)
    assert len(await moves(run)) == 2


async def test_an_engine_that_is_closed_says_so(open_lab: OpenLab) -> None:
    lab = await open_lab(review())
    engine = lab.engine
    await lab.restart()
    with pytest.raises(Unavailable, match="engine: it is not open; use `async with"):
        engine.client("ana")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"runs_max": 0}, "expected runs_max >= 1 and deaths_max >= 2, saw 0 and 3"),
        ({"deaths_max": 1}, "saw 10000 and 1"),
        ({"heartbeat_s": 4.0}, "expected heartbeat_s <= lease_ttl_s / 3, saw 4 of 5"),
    ],
    ids=str,
)
def test_options_are_checked_when_given(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        Engine("memory:", review(), **options)


def test_a_workflow_is_checked_before_it_runs() -> None:
    workflow = Workflow("broken")
    workflow.add_state("work", nothing, start=True, to="nowhere")
    with pytest.raises(InvalidDefinition, match="state 'work' leads to 'nowhere', which is not declared"):
        Engine("memory:", workflow)


def test_a_mistyped_state_is_told_with_what_was_meant() -> None:
    workflow = Workflow("broken")
    workflow.add_state("work", nothing, start=True, to="finishd")
    workflow.final("finished")
    with pytest.raises(InvalidDefinition, match=r"did you mean 'finished'\? declared are work, finished"):
        workflow.build()
