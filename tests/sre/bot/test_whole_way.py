"""The bot's handlers over a real workspace: to a closed ticket, through rounds of review, past restarts."""

from __future__ import annotations

import pytest

from holdfast import Conflict, InvalidTransition
from holdfast_sre.flow.chart import AWAITING_REVIEW, CLOSED, REJECTED
from holdfast_sre.flow.incident import Incident
from holdfast_sre.ports import Decision
from tests.sre.bot.bench import (
    ANOTHER_ROUND,
    APPROVED,
    DEPLOYMENT,
    LIMIT,
    SOON_S,
    TO_REVIEW,
    WHOLE_WAY,
    OpenBench,
    lines,
    states,
    under,
)
from tests.sre.bot.conftest import ON_MEMORY


async def test_a_ticket_goes_the_whole_way_to_closed(open_bench: OpenBench) -> None:
    bench = await open_bench()
    run = await bench.to_review()
    assert await bench.live_limit() is None
    await run.send("approve", by="ana", data="as measured in June")
    await run.reach(CLOSED, timeout_s=SOON_S)

    assert await states(run) == WHOLE_WAY
    told = await bench.ticket()
    assert told.status == "closed"
    said = [comment.text.split(" ")[0] for comment in told.comments if comment.by == "holdfast-sre"]
    assert said == ["Taken", "Cause:", "Pull", "repaired"]
    assert "OOMKilled" in told.comments[2].text
    assert "Jonas Brandt" in told.comments[2].text
    pull = await bench.pull()
    assert (pull.state, pull.round, [decision.by for decision in pull.decisions]) == ("merged", 1, ["ana"])
    assert pull.decisions[0].text == "as measured in June"
    assert (await bench.subjects("main"))[0] == "Merge pull request #1: FERRY-17: Bookings fail with 503"
    assert await bench.live_limit() == "384Mi"
    data: Incident = run.data
    assert (data.approved_by, data.merged) == ("ana", pull.merged)
    assert data.validation.startswith("proven: ")
    assert data.deployment == "synced, healthy"


async def test_five_rounds_of_changes_are_one_pull_request(open_bench: OpenBench) -> None:
    """Each round asks for another limit; whoever looked at an earlier round can decide nothing any more."""
    bench = await open_bench()
    run = await bench.to_review()
    seen: list[str] = []
    for number, limit in enumerate(("401Mi", "402Mi", "403Mi", "404Mi", "405Mi"), start=2):
        looked_at = await bench.engine.get(run.id, user="sre-team")
        seen.append(run.data.diff_hash)
        await run.send("request_changes", by="ana", data={"text": f"try {limit}", "values": {LIMIT: limit}})
        await run.reach(AWAITING_REVIEW, timeout_s=SOON_S)
        assert run.data.pull == 1
        assert run.data.diff_hash not in seen
        assert f"+              memory: {limit}" in run.data.diff
        pull = await bench.pull()
        assert (pull.round, pull.state) == (number, "open")
        with pytest.raises(InvalidTransition, match="visit"):
            await looked_at.send("approve", by="late")
        with pytest.raises(InvalidTransition, match="judgement"):
            await run.send("approve", by="late", about=seen[0])
        with pytest.raises(Conflict, match="read the current diff"):
            await bench.world.reviews.decide(1, Decision("approve", "late", looked_at.data.diff_hash))
        assert (await run.refresh()).state == AWAITING_REVIEW
    await run.send("approve", by="bob")
    await run.reach(CLOSED, timeout_s=SOON_S)

    rest = [*APPROVED, *under("deployment", *DEPLOYMENT, "deployment_complete"), "system_idle"]
    assert await states(run) == [*TO_REVIEW, *(ANOTHER_ROUND * 5), *rest]
    assert (bench.calls["propose"], bench.calls["offer"], bench.calls["merge"]) == (6, 6, 1)
    branch = (await bench.pull()).branch
    assert len(await bench.subjects(branch)) == 4 + 6  # the history before, and one of each round
    assert [decision.text for decision in run.data.decisions][:2] == ["try 401Mi", "try 402Mi"]
    assert await bench.live_limit() == "405Mi"
    comments = [comment.text for comment in (await bench.ticket()).comments]
    assert sum(text.startswith("Pull request #1 waits for review") for text in comments) == 6
    assert "As reviewers asked: " in comments[-2]


async def test_a_request_in_words_is_offered_again_once(open_bench: OpenBench) -> None:
    """The diff stays as it was, so the request that led to this round names the very diff that waits now."""
    bench = await open_bench()
    run = await bench.to_review()
    first = run.data.diff_hash
    await bench.decide("request_changes", text="please explain")
    await bench.bot.watch_runs()
    await run.reach(AWAITING_REVIEW, timeout_s=SOON_S)
    assert run.data.diff_hash == first
    for _ in range(3):
        assert await bench.bot.watch_runs() == 0
    assert await states(run) == [*TO_REVIEW, *ANOTHER_ROUND]
    assert ((await bench.pull()).round, (await bench.pull()).state) == (2, "open")
    await bench.decide("approve", by="bob")
    assert await bench.bot.watch_runs() == 1
    await run.reach(CLOSED, timeout_s=SOON_S)
    assert [each.verdict for each in (await bench.pull()).decisions] == ["request_changes", "approve"]


@ON_MEMORY
async def test_what_a_reviewer_asked_for_in_an_earlier_round_stays(open_bench: OpenBench) -> None:
    bench = await open_bench()
    run = await bench.to_review()
    await run.send("request_changes", by="ana", data={"values": {LIMIT: "512Mi", "spec.nowhere": "1"}})
    await run.reach(AWAITING_REVIEW, timeout_s=SOON_S)
    assert run.data.reason.endswith("Asked for, but no part of this repair: spec.nowhere")
    await run.send("request_changes", by="ana", data="and say why")
    await run.reach(AWAITING_REVIEW, timeout_s=SOON_S)
    assert "+              memory: 512Mi" in run.data.diff


async def test_decisions_in_the_review_are_heeded_once(open_bench: OpenBench) -> None:
    bench = await open_bench()
    run = await bench.to_review()
    assert await bench.bot.watch_runs() == 0
    await bench.decide("approve", text="fine")
    await bench.bot.watch_runs()
    await bench.bot.watch_runs()
    await run.reach(CLOSED, timeout_s=SOON_S)
    approvals = [line for line in await lines(run) if line.trigger == "approve" and line.agent == "ana"]
    assert [line.to_state.rpartition(":")[2] for line in approvals] == ["review_in_progress", "approved"]
    assert [each.verdict for each in (await bench.pull()).decisions] == ["approve"]
    assert bench.calls["decide"] == 1  # the person's own


@ON_MEMORY
async def test_the_last_decision_counts(open_bench: OpenBench) -> None:
    """Somebody approves and another objects before the bot looks: nothing is merged."""
    bench = await open_bench()
    run = await bench.to_review()
    await bench.decide("approve", by="ana")
    await bench.decide("reject", by="bob", text="not on a Friday")
    await bench.bot.watch_runs()
    await run.reach(REJECTED, timeout_s=SOON_S)
    assert run.data.outcome == "repair rejected by bob: not on a Friday"
    assert (bench.calls["merge"], bench.calls["decide"]) == (0, 2)


async def test_a_rejected_repair_changes_nothing(open_bench: OpenBench) -> None:
    bench = await open_bench()
    main = await bench.subjects("main")
    run = await bench.to_review()
    await run.send("reject", by="ana", data="we scale out instead")
    await run.reach(REJECTED, timeout_s=SOON_S)
    assert await states(run) == [*TO_REVIEW, *under("review", "review_in_progress", "rejected"), "system_idle"]
    ticket = await bench.ticket()
    assert (ticket.status, ticket.comments[-1].text) == (
        "rejected",
        "repair rejected by ana: we scale out instead",
    )
    assert (await bench.pull()).state == "closed"
    assert await bench.subjects("main") == main
    assert await bench.live_limit() is None


async def test_after_a_restart_the_review_is_watched_on(open_bench: OpenBench) -> None:
    first = await open_bench()
    run = await first.to_review()
    await first.engine.close()
    await first.decide("approve")
    second = await open_bench()
    found = await second.engine.get(run.id, user="sre-team")
    assert (found.state, found.data.pull) == (AWAITING_REVIEW, 1)
    assert await second.bot.watch_runs() == 1
    await found.reach(CLOSED, timeout_s=SOON_S)
    assert await states(found) == WHOLE_WAY
    assert (second.calls["offer"], second.calls["propose"]) == (0, 0)
