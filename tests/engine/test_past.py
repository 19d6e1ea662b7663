"""The past: checkpoints, forks that share nothing, and any state rebuilt from the journal, for random histories too."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import Checkpoint, InvalidTransition, NotFound, Rejected, RunContext, RunHandle, Workflow, codec
from holdfast.testing import Lab
from holdfast.testing.conformance.mending import damage, lose_events, spoil_record
from holdfast.workflow.model.run import Run, encode_run
from tests.engine.journal import check_everything, told
from tests.engine.labs import OpenLab, World
from tests.engine.mazes import SIGNALS, maze


def review(world: World) -> Workflow:
    workflow = Workflow("review", data=dict)

    @workflow.state("draft", start=True, to="open")
    async def draft(ctx: RunContext) -> None:
        ctx.data["texts"] = [*ctx.data.get("texts", []), await ctx.step("write", world.make, "text")]

    workflow.wait("open", on={"approve": "deploy", "request_changes": "draft"}, after={"9s": "late"})

    @workflow.state("deploy", to="end")
    async def deploy(ctx: RunContext) -> None:
        ctx.data["deployed"] = await ctx.step("deploy", world.make, "deployment", once="run")

    workflow.final("end", "late")
    return workflow


async def opened(open_lab: OpenLab) -> tuple[Lab, World, RunHandle]:
    world = World()
    lab = await open_lab(review(world))
    return lab, world, await (await lab.start("review", id="T")).reach("open")


async def test_two_forks_of_one_checkpoint_are_independent(open_lab: OpenLab) -> None:
    lab, world, run = await opened(open_lab)
    await lab.client.checkpoint("T", "before")
    await run.send("approve", by="ana")
    await run.result()
    one = await lab.client.fork("T", checkpoint="before", id="one")
    two = await lab.client.fork("T", checkpoint="before", id="two")
    await one.send("approve", by="ana")
    await lab.settle()
    assert ((await one.refresh()).state, (await two.refresh()).state) == ("end", "open")
    await two.send("request_changes", by="bob")
    await lab.settle()
    assert (await one.refresh()).data == {"texts": ["text-1"], "deployed": "deployment-3"}
    assert (await two.refresh()).data == {"texts": ["text-1", "text-4"]}
    assert (await run.refresh()).data == {"texts": ["text-1"], "deployed": "deployment-2"}, "its own, as it was"
    assert len(set(world.keys["deployment"])) == 2, "a fork has keys of its own"
    assert len({run.id, one.id, two.id}) == 3
    assert (await told(one, "forked"))[0] == {"from": run.id, "states": ["open"]}


async def test_a_fork_of_an_earlier_version_begins_its_state_anew(open_lab: OpenLab) -> None:
    lab, world, run = await opened(open_lab)
    await run.send("approve", by="ana")
    await run.result()
    fork = await lab.client.fork("T", version=1)
    await fork.reach("open")
    assert world.calls["text"] == 2
    assert fork.data == {"texts": ["text-3"]}
    assert fork.run.forked_from == run.id


async def test_a_forks_timers_run_from_now(open_lab: OpenLab) -> None:
    lab, _, run = await opened(open_lab)
    await lab.client.checkpoint("T", "before")
    await lab.skip("8s")
    fork = await lab.client.fork("T", checkpoint="before")
    await lab.skip("1s")
    assert ((await run.refresh()).state, (await fork.refresh()).state) == ("late", "open")
    await lab.skip("8s")
    assert (await fork.refresh()).state == "late"


async def test_an_ended_run_cannot_be_forked_but_its_past_can(open_lab: OpenLab) -> None:
    lab, _, run = await opened(open_lab)
    await run.send("approve", by="ana")
    await run.result()
    with pytest.raises(Rejected, match="has ended in end; fork an earlier version of it"):
        await lab.client.fork("T")
    with pytest.raises(NotFound, match="there is no checkpoint 'never'; `checkpoints` lists them"):
        await lab.client.fork("T", checkpoint="never")
    with pytest.raises(NotFound, match="its journal has no version 99"):
        await lab.client.fork("T", version=99)


async def test_checkpoints_list_every_version_and_the_named_ones(open_lab: OpenLab) -> None:
    lab, _, run = await opened(open_lab)
    kept = await lab.client.checkpoint("T", "before")
    await run.send("approve", by="ana")
    await run.result()
    found = await lab.client.checkpoints("T")
    assert [(point.version, point.name, point.state) for point in found] == [
        (1, "", "draft"), (2, "", "open"), (2, "before", "open"), (3, "", "deploy"), (4, "", "end"),
    ]  # fmt: skip
    assert isinstance(kept, Checkpoint)
    assert kept in found


async def test_any_version_can_be_looked_at(open_lab: OpenLab) -> None:
    lab, _, run = await opened(open_lab)
    seen: dict[int, Run] = {run.version: run.run}
    for _ in range(12):
        await run.send("request_changes", by="ana")
        seen[run.version] = run.run
        await run.reach("open")
        seen[run.version] = run.run
    assert len(seen) == 25, "more than one snapshot's worth"
    for version, stood in seen.items():
        assert encode_run(await lab.client.state_at("T", version)) == encode_run(stood)


ORDERS = (*SIGNALS, "pause", "resume", "cancel", "skip", "restart", "checkpoint")


@given(orders=st.lists(st.sampled_from(ORDERS), max_size=14), seed=st.integers(0, 1000), is_cold=st.booleans())
@settings(max_examples=60)
def test_a_run_is_what_its_journal_says_whatever_happened(orders: list[str], seed: int, is_cold: bool) -> None:
    asyncio.run(_wander(orders, seed, is_cold))


async def _wander(orders: list[str], seed: int, is_cold: bool) -> None:
    async with Lab(maze(), seed=seed, is_cold=is_cold) as lab:
        run = await lab.start("maze", id="T")
        seen: dict[int, bytes] = {}
        for order in orders:
            await lab.settle()
            await run.refresh()
            seen[run.version] = encode_run(run.run)
            try:
                await _obey(lab, run, order)
            except InvalidTransition:
                continue
            run = await lab.client.get("T")
        await lab.skip("10s")
        await check_everything(lab.store)
        for version, body in seen.items():
            assert encode_run(await lab.client.state_at("T", version)) == body
        stood = await lab.client.get("T")
        assert codec.decode(encode_run(await lab.client.state_at("T", stood.version))) == codec.plain(stood.run)


async def _obey(lab: Lab, run: RunHandle, order: str) -> None:
    match order:
        case "pause" | "resume" | "cancel":
            await getattr(run, order)(by="ana")
        case "skip":
            await lab.skip("3s")
        case "restart":
            await lab.restart()
        case "checkpoint":
            await lab.client.checkpoint("T", "here")
        case signal:
            await run.send(signal, by="ana")


async def test_damaged_run_goes_on_from_its_last_good_checkpoint(open_lab: OpenLab) -> None:
    """Its record and all of its journal are damaged; whoever read it before is refused."""
    lab, world, run = await opened(open_lab)
    await lab.client.checkpoint("T", "before")
    await run.send("request_changes", by="ana")
    await run.reach("open")
    await damage(lab.store, run.run.key, spoil_record(body=b"{}", status="odd"), lose_events(1, 2, 3, 4))  # type: ignore[arg-type]
    (words,) = await lab.store.repair()  # type: ignore[attr-defined]
    assert "rebuilt from its copy 'before' at version 2" in words
    again = await (await lab.client.get("T")).reach("open")
    assert (again.version, again.data) == (5, {"texts": ["text-1"]})
    await lab.restart()
    again = await lab.client.get("T")
    await again.send("request_changes", by="bob")
    await lab.settle()
    fork = await lab.client.fork("T", version=5)
    assert (await again.refresh()).data == {"texts": ["text-1", "text-2"]}, "the step's key is the one of then"
    assert (await fork.reach("open")).data == {"texts": ["text-1"]}
    assert [row["what"] for row in await told(again, "repaired")] == [words]
    assert world.made == 2
