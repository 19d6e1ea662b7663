"""Signals: kept while early, taken once, refused when late; rounds, races, and one signal through two states."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import Forward, InvalidTransition, RunContext, Workflow
from holdfast.testing import Gate
from tests.engine.journal import moves, told
from tests.engine.labs import OpenLab, World, nothing


def review(world: World, gate: Gate | None = None) -> Workflow:
    """Drafts and asks for a review, round by round; each round judges another text."""
    workflow = Workflow("review", data=dict)

    @workflow.state("draft", start=True, to="open")
    async def draft(ctx: RunContext) -> None:
        if gate is not None:
            await gate.wait()
        ctx.data["round"] = ctx.data.get("round", 0) + 1
        ctx.data["hash"] = f"hash-{ctx.data['round']}"
        await ctx.step("write", world.make, "text")
        ctx.data["pull"] = await ctx.step("open-pull", world.make, "pull", once="run")

    workflow.wait(
        "open",
        on={"approve": "merged", "request_changes": "draft", "reject": "closed"},
        after={"6s": "late"},
        about=lambda data: str(data["hash"]),
    )
    workflow.final("merged", "closed", "late")
    return workflow


async def test_an_early_signal_is_kept_for_its_state(open_lab: OpenLab) -> None:
    lab = await open_lab()
    gate = lab.gate()
    await lab.restart(review(World(), gate))
    run = await lab.start("review")
    await lab.settle()
    answer = await lab.client.send(run.id, "approve", by="ana", state="open", visit=1, about="hash-1")
    assert answer == ""
    await lab.settle()
    assert (await run.refresh()).state == "draft"
    gate.open()
    await lab.settle()
    assert await moves(run) == ["-start-> draft", "draft -draft.done-> open", "open -approve-> merged"]


async def test_an_early_signal_survives_a_restart(open_lab: OpenLab) -> None:
    lab = await open_lab()
    gate = lab.gate()
    await lab.restart(review(World(), gate))
    run = await lab.start("review", id="T")
    await lab.settle()
    await lab.client.send(run.id, "approve", by="ana", state="open", visit=1, about="hash-1")
    await lab.restart()
    gate.open()
    await lab.settle()
    assert (await lab.client.get("T")).state == "merged"


async def test_the_same_signal_twice_counts_once(open_lab: OpenLab) -> None:
    lab = await open_lab(review(World()))
    run = await (await lab.start("review")).reach("open")
    await run.send("request_changes", by="ana", id="click-1")
    await lab.settle()
    again = await lab.client.send(
        run.id, "request_changes", by="ana", state="open", visit=1, about="hash-1", signal_id="click-1"
    )
    assert again == "draft", "the second sending hears what came of the first"
    await lab.settle()
    assert (await run.refresh()).data["round"] == 2


async def test_the_same_signal_at_the_same_time_counts_once(open_lab: OpenLab) -> None:
    lab = await open_lab(review(World()))
    run = await (await lab.start("review")).reach("open")
    await asyncio.gather(*(run.send("request_changes", by="ana", id="click-1") for _ in range(5)))
    await lab.settle()
    assert [move for move in await moves(run) if "request_changes" in move] == ["open -request_changes-> draft"]


async def test_of_approve_and_reject_one_wins_and_the_other_is_told_the_state(open_lab: OpenLab) -> None:
    lab = await open_lab(review(World()))
    run = await (await lab.start("review")).reach("open")
    other = await lab.client.get(run.id)
    answers = await asyncio.gather(
        run.send("approve", by="ana"), other.send("reject", by="bob"), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert [type(error) for error in refused] == [InvalidTransition]
    assert run.id in str(refused[0])
    end = (await run.refresh()).state
    assert end in str(refused[0]), "the loser is told where the run is"
    assert len(await moves(run)) == 3


async def test_an_approval_of_round_one_never_hits_round_two(open_lab: OpenLab) -> None:
    lab = await open_lab(review(World()))
    run = await (await lab.start("review")).reach("open")
    stale = await lab.client.get(run.id)
    await run.send("request_changes", by="ana")
    await lab.settle()
    assert (await run.refresh()).state == "open"
    with pytest.raises(InvalidTransition, match="visit 1 of open, but the run is in visit 2"):
        await stale.send("approve", by="bob")
    with pytest.raises(InvalidTransition, match="is about hash-1, but open waits for a judgement of hash-2"):
        await lab.client.send(run.id, "approve", by="bob", state="open", visit=2, about="hash-1")
    await lab.settle()
    assert (await run.refresh()).state == "open"
    await run.send("approve", by="bob")
    assert run.state == "merged"


async def test_five_rounds_run_each_step_once_a_round_and_make_one_pull_request(open_lab: OpenLab) -> None:
    world = World()
    lab = await open_lab(review(world))
    run = await lab.start("review")
    for _ in range(5):
        await run.reach("open")
        await run.send("request_changes", by="ana")
        await lab.settle()
    await (await run.reach("open")).send("approve", by="ana")
    assert world.calls == {"text": 6, "pull": 6}
    assert len(set(world.keys["text"])) == 6, "each round has a key of its own"
    assert set(world.keys["pull"]) == {f"{run.id}/open-pull"}, "the whole run has one"
    assert run.data == {"round": 6, "hash": "hash-6", "pull": "pull-2"}
    assert world.made == 7


async def test_what_is_sent_before_the_deadline_wins_and_the_timer_is_gone(open_lab: OpenLab) -> None:
    lab = await open_lab(review(World()))
    run = await (await lab.start("review")).reach("open")
    await lab.skip("5s")
    await run.send("approve", by="ana")
    await lab.skip("6s")
    assert await moves(run) == ["-start-> draft", "draft -draft.done-> open", "open -approve-> merged"]


async def test_what_is_sent_after_the_deadline_is_told_so(open_lab: OpenLab) -> None:
    lab = await open_lab(review(World()))
    run = await (await lab.start("review")).reach("open")
    await lab.skip("6s")
    with pytest.raises(InvalidTransition, match="has ended in late"):
        await run.send("approve", by="ana")
    assert (await moves(run))[-1] == "open -timeout-> late"


async def test_a_signal_and_a_timeout_at_one_moment_make_one_transition(open_lab: OpenLab) -> None:
    lab = await open_lab(review(World()))
    run = await (await lab.start("review")).reach("open")
    await lab.settle()
    assert run.run.due is not None
    lab.clock.advance_to(run.run.due)
    (answer,) = await asyncio.gather(run.send("approve", by="ana"), return_exceptions=True)
    await lab.settle()
    end = (await run.refresh()).state
    assert end == ("late" if isinstance(answer, InvalidTransition) else "merged")
    assert len(await moves(run)) == 3


async def test_a_timer_of_a_state_that_was_left_does_not_fire_in_its_next_visit(open_lab: OpenLab) -> None:
    lab = await open_lab(review(World()))
    run = await (await lab.start("review")).reach("open")
    await lab.skip("4s")
    await run.send("request_changes", by="ana")
    await lab.skip("5s")
    assert (await run.refresh()).state == "open", "the first visit's six seconds are long over"
    await lab.skip("1s")
    assert (await run.refresh()).state == "late"
    assert [move for move in await moves(run) if "timeout" in move] == ["open -timeout-> late"]


async def test_a_signal_interrupts_a_working_state(open_lab: OpenLab) -> None:
    ended: list[str] = []
    workflow = Workflow("work")
    lab = await open_lab()
    gate = lab.gate()

    @workflow.state("busy", start=True, to="end", on={"stop": "stopped"})
    async def busy(ctx: RunContext) -> None:
        try:
            await gate.wait()
        finally:
            ended.append(ctx.state)

    workflow.final("end", "stopped")
    await lab.restart(workflow)
    run = await lab.start("work")
    await lab.settle()
    await run.send("stop", by="ana")
    await lab.settle()
    assert (await run.refresh()).state == "stopped"
    assert ended == ["busy"]
    gate.open()
    await lab.settle()
    assert await moves(run) == ["-start-> busy", "busy -stop-> stopped"]


async def test_a_handler_sees_the_signal_that_brought_it(open_lab: OpenLab) -> None:
    seen: list[Any] = []
    workflow = Workflow("told")
    workflow.wait("open", start=True, on={"go": "work"})

    @workflow.state("work", to="end")
    async def work(ctx: RunContext) -> None:
        assert ctx.signal is not None
        seen.append({name: ctx.signal[name] for name in ("name", "by", "data")})

    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("told")
    await run.send("go", by="ana", data={"why": "it is time"})
    await lab.settle()
    assert seen == [{"name": "go", "by": "ana", "data": {"why": "it is time"}}]


async def test_forward_takes_one_signal_through_two_states_in_one_commit(open_lab: OpenLab) -> None:
    workflow = Workflow("pull")
    workflow.wait("human_review.awaiting_review", start=True, on={"approve": Forward("human_review.in_progress")})
    workflow.wait("human_review.in_progress", on={"approve": "approved", "reject": "rejected"})
    workflow.final("approved", "rejected")
    lab = await open_lab(workflow)
    run = await lab.start("pull")
    before = run.version
    await run.send("approve", by="ana")
    assert (run.state, run.version) == ("approved", before + 1)
    assert await moves(run) == [
        "-start-> human_review:awaiting_review",
        "human_review:awaiting_review -approve-> human_review:in_progress",
        "human_review:in_progress -approve-> approved",
    ]
    first, second = (await run.history())[-2:]
    assert first.change_id == second.change_id


async def test_a_signal_nobody_knows_is_refused_with_those_that_are_known(open_lab: OpenLab) -> None:
    lab = await open_lab(review(World()))
    run = await (await lab.start("review")).reach("open")
    with pytest.raises(InvalidTransition, match="no signal 'aprove'; it knows: approve, reject, request_changes"):
        await run.send("aprove", by="ana")
    with pytest.raises(InvalidTransition, match="draft does not take 'approve'; open does"):
        await lab.client.send(run.id, "approve", by="ana", state="draft", visit=1)


async def test_a_signal_for_a_paused_run_is_kept_until_it_is_resumed(open_lab: OpenLab) -> None:
    lab = await open_lab(review(World()))
    run = await (await lab.start("review")).reach("open")
    await run.pause(by="ops")
    assert await lab.client.send(run.id, "approve", by="ana", state="open", visit=1, about="hash-1") == ""
    await lab.settle()
    assert (await run.refresh()).status == "paused"
    await run.resume(by="ops")
    await lab.settle()
    assert (await run.refresh()).state == "merged"
    assert await told(run, "resumed") == [{"from": "paused", "reason": ""}]


async def test_a_kept_signal_that_turns_out_wrong_does_not_stop_the_clock(open_lab: OpenLab) -> None:
    """The run is taken up to judge what was kept; it is given back afterwards, and its timer fires."""
    workflow = Workflow("two", data=dict)
    workflow.wait("one", start=True, on={"go": "two"})
    workflow.wait("two", on={"approve": "end"}, after={"3s": "late"}, about=lambda data: "this")
    workflow.final("end", "late")
    lab = await open_lab(workflow)
    run = await lab.start("two")
    assert await lab.client.send(run.id, "approve", by="ana", state="two", visit=1, about="that", signal_id="s") == ""
    await run.send("go", by="ana")
    await lab.settle()
    with pytest.raises(InvalidTransition, match="is about that, but two waits for a judgement of this"):
        await lab.client.send(run.id, "approve", by="ana", state="two", visit=1, about="that", signal_id="s")
    await lab.skip("3s")
    assert (await run.refresh()).state == "late"


async def test_rounds_without_a_handler_are_rounds_too(open_lab: OpenLab) -> None:
    workflow = Workflow("pingpong")
    workflow.wait("ping", start=True, on={"hit": "pong"})
    workflow.wait("pong", on={"hit": "ping", "miss": "over"})
    workflow.add_state("over", nothing, to="end")
    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("pingpong")
    for _ in range(5):
        await run.send("hit", by="ana")
    assert run.state == "pong"
    await run.send("miss", by="ana")
    await lab.settle()
    assert (await run.refresh()).state == "end"
