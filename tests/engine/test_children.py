"""Child runs: begun with the state that waits for them, ended into its edges, cancelled when it is left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from holdfast import InvalidDefinition, InvalidInput, Retry, RunContext, RunHandle, Workflow, codec
from holdfast.store.contract.records import Query, Scope
from holdfast.store.rows.blobs import BLOB_BYTES_MAX
from holdfast.testing import Lab
from holdfast.workflow.model.run import RUN, decode_run
from tests.engine.journal import moves
from tests.engine.labs import ON_ALL, ON_MEMORY, OpenLab, nothing


def parent(**options: Any) -> Workflow:
    """Starts one build and goes where its end says."""
    workflow = Workflow("release", data=dict)
    workflow.add_state("plan", nothing, start=True, to="build")
    given: dict[str, Any] = {
        "to": {"built": "shipped", "rejected": "plan", "cancelled": "stopped", "failed": "alarm"},
        "input": lambda data: {"of": data.get("name", "it")},
        "into": "build",
        "on": {"hurry": "hurried"},
    }
    workflow.child("build", workflow="build", **(given | options))
    workflow.final(*{"shipped", "stopped", "alarm", "hurried"} & _targets(given | options))
    return workflow


def _targets(options: dict[str, Any]) -> set[str]:
    return {*options["to"].values(), *options["on"].values()}


def child() -> Workflow:
    """Waits to be told how it ends."""
    workflow = Workflow("build", data=dict)

    @workflow.state("compile", start=True, to="open", retry=Retry(attempts_max=1))
    async def compile(ctx: RunContext) -> None:
        ctx.data["made"] = ctx.input["of"]
        if ctx.input["of"] == "broken":
            raise ValueError("broken")

    workflow.wait("open", on={"good": "built", "bad": "rejected"})
    workflow.final("built", "rejected")
    return workflow


async def children_of(lab: Lab, run: RunHandle) -> Sequence[RunHandle]:
    """The runs that `run` started."""
    found, _ = await lab.client.runs(labels={"parent": run.id})
    return found


async def living_children_of(lab: Lab, run: RunHandle) -> Sequence[RunHandle]:
    """Those of them that have not ended."""
    return [each for each in await children_of(lab, run) if not each.run.is_ended]


async def begun(lab: Lab, **options: Any) -> tuple[RunHandle, RunHandle]:
    """A run that waits for its child, and the child."""
    run = await lab.start("release", **options)
    await lab.settle()
    (only,) = await children_of(lab, await run.refresh())
    return run, only


@ON_ALL
async def test_a_child_ends_into_the_edge_of_its_outcome(open_lab: OpenLab) -> None:
    """Its data become a field of the parent's; meanwhile the parent is rows: nobody owns it."""
    lab = await open_lab(parent(), child())
    run, only = await begun(lab, data={"name": "engine"})
    assert (run.status, only.status, only.state) == ("waiting", "waiting", "open")
    assert (only.run.user, only.run.tenant) == (run.run.user, run.run.tenant)
    (row,) = (await lab.store.scan(Scope.system(), Query(kind=RUN, prefix=run.id))).records
    assert (row.owner, lab.handlers) == ("", [])
    await only.send("good", by="ana")
    await lab.settle()
    await run.refresh()
    assert (run.state, run.data["build"]) == ("shipped", {"made": "engine"})
    assert await moves(run) == ["-start-> plan", "plan -plan.done-> build", "build -build.built-> shipped"]


@ON_MEMORY
async def test_a_state_entered_again_starts_another_child(open_lab: OpenLab) -> None:
    lab = await open_lab(parent(), child())
    run, first = await begun(lab)
    await first.send("bad", by="ana")
    await lab.settle()
    (second,) = await living_children_of(lab, await run.refresh())
    assert (run.state, second.status) == ("build", "waiting")
    await second.send("good", by="ana")
    await lab.settle()
    assert (await run.refresh()).state == "shipped"


@ON_ALL
async def test_who_leaves_early_cancels_the_child(open_lab: OpenLab) -> None:
    lab = await open_lab(parent(), child())
    run, only = await begun(lab)
    await run.send("hurry", by="ana")
    await lab.settle()
    assert ((await run.refresh()).state, (await only.refresh()).status) == ("hurried", "cancelled")
    assert only.run.reason == f"run {run.id} left its state"


def generations() -> tuple[Workflow, ...]:
    """Three: top waits for middle, middle for leaf, both at once, and the leaf for ever."""
    made = []
    for name, below in (("top", "middle"), ("middle", "leaf")):
        workflow = Workflow(name, data=dict)
        workflow.child("below", workflow=below, to={"done": "over", "cancelled": "gone"}, start=True)
        workflow.final("over", "gone")
        made.append(workflow)
    leaf = Workflow("leaf", data=dict)
    leaf.wait("asleep", on={"wake": "awake"}, start=True)
    leaf.final("awake")
    return (*made, leaf)


@ON_ALL
async def test_a_cancel_reaches_all_generations(open_lab: OpenLab) -> None:
    """Those that begin with a child begin in the commit of the first of them."""
    lab = await open_lab(*generations())
    run = await lab.start("top")
    (middle,) = await children_of(lab, run)
    (leaf,) = await children_of(lab, middle)
    await lab.settle()
    await run.cancel(by="ana")
    await lab.settle()
    assert [(await each.refresh()).status for each in (run, middle, leaf)] == ["cancelled"] * 3


@ON_MEMORY
@pytest.mark.parametrize("status", ["paused", "failed"])
async def test_a_cancel_reaches_a_child_that_stands_still(open_lab: OpenLab, status: str) -> None:
    lab = await open_lab(parent(to={"built": "shipped"}), child())
    run, only = await begun(lab, data={"name": "broken" if status == "failed" else "engine"})
    if status == "paused":
        await only.pause()
    await lab.settle()
    assert ((await only.refresh()).status, (await run.refresh()).status) == (status, "waiting")
    await run.cancel(by="ana")
    await lab.settle()
    assert (await only.refresh()).status == "cancelled"


@ON_MEMORY
async def test_a_child_that_stopped_takes_the_edge_failed_and_is_over(open_lab: OpenLab) -> None:
    lab = await open_lab(parent(), child())
    run, only = await begun(lab, data={"name": "broken"})
    await lab.settle()
    assert ((await run.refresh()).state, (await only.refresh()).status) == ("alarm", "cancelled")


@ON_MEMORY
async def test_without_that_edge_the_child_is_waited_for_until_it_goes_on(open_lab: OpenLab) -> None:
    lab = await open_lab(parent(to={"built": "shipped"}), child())
    run, only = await begun(lab)
    await only.cancel(by="ana")
    await lab.settle()
    assert (await run.refresh()).status == "failed"
    assert "for which build has no edge" in run.run.reason
    await run.resume(by="ana")
    await lab.settle()
    (second,) = await living_children_of(lab, await run.refresh())
    await second.send("good", by="ana")
    await lab.settle()
    assert (await run.refresh()).state == "shipped"


@ON_MEMORY
async def test_an_end_that_comes_while_the_parent_is_paused_waits_for_it(open_lab: OpenLab) -> None:
    lab = await open_lab(parent(), child())
    run, only = await begun(lab)
    await run.pause(by="ana")
    await only.send("good", by="ana")
    await lab.settle()
    assert ((await run.refresh()).status, run.state) == ("paused", "build")
    await run.resume(by="ana")
    await lab.settle()
    assert (await run.refresh()).state == "shipped"


@ON_MEMORY
async def test_a_child_that_was_cancelled_by_hand_takes_the_edge_cancelled(open_lab: OpenLab) -> None:
    lab = await open_lab(parent(), child())
    run, only = await begun(lab)
    await only.cancel(by="ana")
    await lab.settle()
    assert (await run.refresh()).state == "stopped"


@ON_MEMORY
async def test_children_side_by_side(open_lab: OpenLab) -> None:
    """Regions of a parallel: each its own child, and the join waits for all of them."""
    fan = Workflow("fan", data=dict)
    for name in ("left", "right"):
        fan.child(f"both.{name}", workflow="build", input=lambda data, name=name: {"of": name}, into=name)
    fan.parallel("both", to="over", start=True)
    fan.final("over")
    lab = await open_lab(fan, child())
    run = await lab.start("fan")
    await lab.settle()
    for each in await children_of(lab, run):
        await each.send("good", by="ana")
        await lab.settle()
    await run.refresh()
    assert (run.state, run.data) == ("over", {"left": {"made": "left"}, "right": {"made": "right"}})


@ON_MEMORY
async def test_a_fork_has_a_child_of_its_own_and_no_parent(open_lab: OpenLab) -> None:
    lab = await open_lab(parent(), child())
    run, only = await begun(lab)
    copy = await lab.client.fork(run.id)
    orphan = await lab.client.fork(only.id)
    (other,) = await children_of(lab, copy)
    assert other.id != only.id
    assert orphan.run.parent is None
    await lab.settle()
    await orphan.send("good", by="ana")
    await lab.settle()
    assert (await run.refresh()).state == "build"


@ON_ALL
async def test_a_restart_between_the_word_and_its_judgement_loses_nothing(open_lab: OpenLab) -> None:
    """Doors that work on nothing end the child and cancel the parent; engines that come later judge it."""
    lab = await open_lab(parent(), child())
    run, only = await begun(lab)
    other, second = await begun(lab)
    await lab.restart(works=False)
    await lab.client.send(only.id, "good", by="ana", state="open", visit=1)
    await lab.client.cancel(other.id)
    await lab.settle()
    assert decode_run(await _record(lab, run.id)).status == "waiting"
    assert decode_run(await _record(lab, second.id)).status == "waiting"
    await lab.restart(works=True)
    await lab.settle()
    assert decode_run(await _record(lab, run.id)).outcome == "shipped"
    assert decode_run(await _record(lab, second.id)).status == "cancelled"


async def _record(lab: Lab, run_id: str) -> bytes:
    return (await lab.store.scan(Scope.system(), Query(kind=RUN, prefix=run_id))).records[0].body


@ON_ALL
async def test_a_child_takes_an_input_as_large_as_any_run_does(open_lab: OpenLab) -> None:
    """Kept in chunks of its own, which go with it; a grandchild's too. The handler sees it whole."""
    text, seen = "x" * 3_000_000, []
    grandchild = Workflow("grandchild", data=dict)

    @grandchild.state("look", start=True, to="over")
    async def look(ctx: RunContext) -> None:
        seen.append(ctx.input["text"])

    grandchild.final("over")
    middle = Workflow("build", data=dict)
    middle.child("more", workflow="grandchild", start=True, to="built", input=lambda data: {"text": text + "y"})
    middle.final("built")
    lab = await open_lab(parent(input=lambda data: {"of": text}, into=None), middle, grandchild)
    run = await lab.start("release")
    await lab.settle()
    assert (await run.refresh()).state == "shipped"
    assert seen == [text + "y"]
    (begun,) = await children_of(lab, run)
    assert begun.run.blobs["input"].size_bytes == len(codec.encode({"of": text}, bytes_max=BLOB_BYTES_MAX))
    assert codec.decode(await begun.get_blob(begun.run.blobs["input"])) == {"of": text}


@ON_MEMORY
async def test_a_childs_input_beyond_what_any_run_takes_is_its_states_failure(open_lab: OpenLab) -> None:
    lab = await open_lab(parent(input=lambda data: "x" * BLOB_BYTES_MAX), child())
    run = await lab.start("release")
    await lab.settle()
    assert (await run.refresh()).status == "failed"
    assert f"expected at most {BLOB_BYTES_MAX} bytes" in run.run.reason


@ON_MEMORY
async def test_a_child_that_cannot_begin_is_its_states_failure(open_lab: OpenLab) -> None:
    lab = await open_lab(parent(input=lambda data: data["missing"]), child())
    run = await lab.start("release")
    await lab.settle()
    assert (await run.refresh()).status == "failed"
    assert "KeyError" in run.run.reason
    assert run.state == "plan"


@ON_MEMORY
async def test_what_starts_itself_comes_to_an_end(open_lab: OpenLab) -> None:
    endless = Workflow("endless", data=dict)
    endless.child("again", workflow="endless", to="over", start=True)
    endless.final("over")
    lab = await open_lab(endless)
    with pytest.raises(Exception, match="16 generations"):
        await lab.start("endless")


@ON_MEMORY
async def test_an_engine_without_the_childs_workflow_is_refused(open_lab: OpenLab) -> None:
    with pytest.raises(InvalidDefinition, match="starts runs of 'build', which this engine does not have"):
        await open_lab(parent())


@ON_MEMORY
async def test_nobody_speaks_for_a_relative(open_lab: OpenLab) -> None:
    lab = await open_lab(parent(), child())
    run, _ = await begun(lab)
    with pytest.raises(InvalidInput, match='names that begin with "/"'):
        await lab.client.send(run.id, "/child-ended", by="eve", state="build", visit=1)
