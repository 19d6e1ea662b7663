"""Where the way leads elsewhere: refused tickets, no safe patch, an unproven repair, people in between."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast import Unavailable
from holdfast.testing import Lab
from holdfast_sre.cli.workspace import open_world
from holdfast_sre.flow.bot import USER, Bot, workflow_for
from holdfast_sre.flow.chart import AWAITING_REVIEW, CLOSED, ESCALATED, FAILED, NAME, REJECTED, TICKET_DETECTED
from holdfast_sre.flow.world import World
from holdfast_sre.local.deployment import LiveFolder
from holdfast_sre.local.git import Identity
from holdfast_sre.local.repository import GitRepository
from tests.sre.bot.bench import (
    ANALYSIS,
    APPROVED,
    DEPLOYMENT,
    LIMIT,
    SOON_S,
    TICKET,
    TO_REVIEW,
    Away,
    OpenBench,
    states,
    under,
    write_ticket,
)
from tests.sre.bot.conftest import ON_MEMORY

ANA = Identity("Ana", "ana@ferry.example")
ERROR_HANDLING = ["error_handling:error_detection", "error_handling:retry_evaluation"]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"namespace": ""}, "not taken: it names no namespace; say where the service runs"),
        ({"namespace": "airport"}, "not taken: namespace 'airport': expected 'ferry', the one that was recorded"),
    ],
)
@ON_MEMORY
async def test_a_ticket_that_cannot_be_worked_on_is_rejected(
    open_bench: OpenBench, values: dict[str, str], why: str
) -> None:
    bench = await open_bench()
    write_ticket(bench.folder, "FERRY-18", **values)
    run = await (await bench.begin("FERRY-18")).reach(REJECTED, timeout_s=SOON_S)
    ticket = await bench.ticket("FERRY-18")
    assert (ticket.status, [comment.text for comment in ticket.comments]) == ("rejected", [why])
    acceptance = under("ticket_acceptance", "validating_ticket", "accepting_ticket", "ticket_rejected")
    assert await states(run) == [*TO_REVIEW[:2], *acceptance, "system_idle"]


@pytest.mark.parametrize(
    "values",
    [
        {"assignee": "maria", "status": "in_progress"},
        {"assignee": "maria", "status": "open"},
        {"assignee": "maria", "status": "closed"},
    ],
)
@ON_MEMORY
async def test_somebody_elses_ticket_is_left_alone(open_bench: OpenBench, values: dict[str, str]) -> None:
    """A person took the ticket between the bot's look and its grasp."""
    bench = await open_bench()
    run = await bench.engine.start(NAME, {"ticket": "FERRY-18"}, id="FERRY-18", user=USER)
    path = write_ticket(bench.folder, "FERRY-18", **values)
    before = path.read_bytes()
    await run.send(TICKET_DETECTED, by="holdfast-sre")
    await run.reach(REJECTED, timeout_s=SOON_S)
    assert path.read_bytes() == before
    assert run.data.outcome.startswith("not taken: ")


@pytest.fixture
async def without_history(workspace: Path) -> None:
    """The faulty manifests are the first and only commit: nothing says what worked before."""
    whole = GitRepository(workspace / "manifests.git", identity=ANA)
    files = await whole.files(await whole.head("main"))
    shutil.rmtree(workspace / "manifests.git")
    bare = await GitRepository.create(workspace / "manifests.git", identity=ANA)
    await bare.record("main", dict(files), "All of it", author=ANA)


@pytest.mark.usefixtures("without_history")
async def test_without_a_safe_patch_a_person_is_told_why(open_bench: OpenBench) -> None:
    bench = await open_bench()
    run = await (await bench.begin()).reach(ESCALATED, timeout_s=SOON_S)
    assert (await states(run))[-5:] == [
        *under("remediation", "fix_generation"),
        *ERROR_HANDLING,
        "error_handling:escalation",
        "system_idle",
    ]
    assert run.run.escalated
    ticket = await bench.ticket()
    assert ticket.status == "escalated"
    assert "no last known good was given" in ticket.comments[-1].text
    assert "no last known good was given" in run.data.outcome
    assert bench.calls["offer"] == 0


@ON_MEMORY
async def test_where_no_fault_is_known_a_person_has_to_look(open_bench: OpenBench, workspace: Path) -> None:
    (workspace / "cluster.json").write_text(json.dumps({"namespace": "ferry"}))
    bench = await open_bench()
    run = await (await bench.begin()).reach(ESCALATED, timeout_s=SOON_S)
    looked = under("analysis", *ANALYSIS[:4])
    assert (await states(run))[5:-1] == [*looked, *ERROR_HANDLING, "error_handling:escalation"]
    assert "no known fault holds now" in (await bench.ticket()).comments[-1].text


async def test_a_repair_that_is_not_proven_is_taken_back(open_bench: OpenBench) -> None:
    """A reviewer insists on a limit that is as low as before: deployed, found wanting, reverted."""
    bench = await open_bench()
    run = await bench.to_review()
    await run.send("request_changes", by="ana", data={"values": {LIMIT: "96Mi"}})
    await run.reach(AWAITING_REVIEW, timeout_s=SOON_S)
    await run.send("approve", by="ana")
    await run.reach(FAILED, timeout_s=SOON_S)
    assert (await states(run))[-7:] == [
        *APPROVED,
        *under("deployment", *DEPLOYMENT, "deployment_failed"),
        "system_idle",
    ]
    subjects = await bench.subjects("main")
    assert subjects[0].startswith('Revert "Merge pull request #1')
    live = LiveFolder(bench.folder / "live").record()
    assert live.revision == await bench.world.repository.head("main")
    assert await bench.live_limit() == "96Mi"
    assert not bench_differs(await bench.world.repository.files(live.revision), bench.folder)
    ticket = await bench.ticket()
    assert ticket.status == "escalated"
    assert "memory-limit-too-low still holds on Deployment/booking" in ticket.comments[-1].text


def bench_differs(files: dict[str, str], folder: Path) -> bool:
    """Whether what is live differs from a revision's files."""
    root = folder / "live" / LiveFolder(folder / "live").record().revision  # type: ignore[operator]
    return any((root / path).read_text() != text for path, text in files.items())


@ON_MEMORY
async def test_a_branch_that_moved_after_the_review_is_not_merged(open_bench: OpenBench) -> None:
    """The approval named a diff; what lies on the branch now is another one."""
    bench = await open_bench()
    run = await bench.to_review()
    repository = GitRepository(bench.folder / "manifests.git", identity=ANA)
    await repository.record(run.data.branch, {"apps/extra.yaml": "a: 1\n"}, "Slip something in", author=ANA)
    main = await bench.subjects("main")
    await run.send("approve", by="ana")
    await run.reach(ESCALATED, timeout_s=SOON_S)
    assert await bench.subjects("main") == main
    text = (await bench.ticket()).comments[-1].text
    assert "Pull request #1 is approved" in text
    assert "expected" in text
    assert await bench.live_limit() is None


async def test_the_second_ticket_waits_for_the_repository(open_bench: OpenBench) -> None:
    gate, inside = asyncio.Event(), asyncio.Event()

    class Held:
        def __init__(self, repository: Any) -> None:
            self._repository = repository

        def __getattr__(self, name: str) -> Any:
            return getattr(self._repository, name)

        async def propose(self, *args: Any, **kwargs: Any) -> Any:
            inside.set()
            await gate.wait()
            return await self._repository.propose(*args, **kwargs)

    def hold(world: World) -> World:
        return replace(world, repository=Held(world.repository))

    bench = await open_bench(hold)
    write_ticket(bench.folder, "FERRY-18", title="web is slow too")
    first = await bench.begin()
    second = await bench.engine.get("FERRY-18", user=USER)
    creation = "ticket_processing.remediation.pr_creation"
    await asyncio.gather(*(run.reach(creation, timeout_s=SOON_S) for run in (first, second)))
    async with asyncio.timeout(SOON_S):
        await inside.wait()
    runs = [await run.refresh() for run in (first, second)]
    phases = sorted(leaf.phase for run in runs for leaf in run.run.leaves.values())
    assert phases == ["locking", "working"]
    assert bench.calls["propose"] == 1
    gate.set()
    await asyncio.gather(*(run.reach(AWAITING_REVIEW, timeout_s=SOON_S) for run in (first, second)))
    assert sorted((first.data.pull, second.data.pull)) == [1, 2]
    assert first.data.branch != second.data.branch
    await first.send("approve", by="ana")
    await first.reach(CLOSED, timeout_s=SOON_S)


@ON_MEMORY
async def test_a_ticket_that_a_person_ended_meanwhile_still_hears_the_end(open_bench: OpenBench) -> None:
    bench = await open_bench()
    run = await bench.to_review()
    await bench.world.tickets.finish(TICKET, "closed", "never mind", by="maria", key="by-hand")
    await run.send("approve", by="ana")
    await run.reach(CLOSED, timeout_s=SOON_S)
    texts = [comment.text for comment in (await bench.ticket()).comments]
    assert texts[-2] == "never mind"
    assert texts[-1].startswith("repaired by pull request #1")


async def test_a_deployment_that_is_away_is_tried_again_by_itself(workspace: Path) -> None:
    """Under a virtual clock: 2 s, then twice that; the merge of before is not made again."""
    world = await open_world(workspace)
    gone = Unavailable("argo: expected an answer, got none")
    world = replace(world, deployment=Away(world.deployment, gone, times=2))
    async with Lab(workflow_for(world), user=USER) as lab:
        bot = Bot(lab.engine, world)
        await bot.take_tickets()
        await bot.watch_runs()
        await lab.settle()
        run = await lab.client.get(TICKET)
        await run.send("approve", by="ana")
        await lab.settle()
        assert (await run.refresh()).run.sub_state == "retry"
        await lab.skip("2s")
        assert (await run.refresh()).run.retry_count == 2
        await lab.skip("10s")
        assert (await run.refresh()).outcome == CLOSED
        retried = ["error_handling:error_detection", "error_handling:retry_evaluation", "error_handling:retry"]
        again = [*retried, *under("deployment", "triggering_deployment")]
        expected = [*TO_REVIEW, *APPROVED, *under("deployment", "triggering_deployment"), *again, *again]
        assert (await states(run))[: len(expected)] == expected
    history = await world.repository.history(await world.repository.head("main"))
    assert sum(commit.subject.startswith("Merge") for commit in history) == 1


@ON_MEMORY
async def test_a_ticket_that_cannot_be_read_holds_up_no_run(open_bench: OpenBench) -> None:
    bench = await open_bench()
    run = await bench.to_review()
    (bench.folder / "tickets" / "FERRY-18.yaml").write_text("id: [half a ticket")
    serving = asyncio.ensure_future(bench.bot.serve())
    await bench.decide("approve")
    await run.reach(CLOSED, timeout_s=SOON_S)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_serving_until_idle_ends_where_only_people_can_go_on(open_bench: OpenBench) -> None:
    bench = await open_bench()
    async with asyncio.timeout(SOON_S):
        await bench.bot.serve(until_idle=True)
    run = await bench.engine.get(TICKET, user=USER)
    assert run.state == AWAITING_REVIEW
    await bench.decide("approve")
    async with asyncio.timeout(SOON_S):
        await bench.bot.serve(until_idle=True)
    assert (await run.refresh()).outcome == CLOSED
