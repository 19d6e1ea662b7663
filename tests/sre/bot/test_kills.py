"""The worker is killed by SIGKILL in every state, at every kind of point, and each effect is there once in the end."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from holdfast import Engine
from holdfast_sre.cli.workspace import Workspace, open_world
from holdfast_sre.flow.bot import USER, workflow_for
from holdfast_sre.flow.chart import CLOSED, WORKING
from holdfast_sre.local.deployment import LiveFolder
from holdfast_sre.local.git import Identity
from holdfast_sre.local.repository import GitRepository
from holdfast_sre.local.review import LocalReviews
from holdfast_sre.local.ticket import TicketFolder
from tests.engine.journal import check_everything
from tests.sre.bot.bench import TICKET, WHOLE_WAY, lines, states

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 100
NOT_ON_THIS_WAY = {
    "ticket_rejected", "second_opinion", "changes_requested", "rejected", "deployment_failed", "escalation",
}  # fmt: skip
ON_THE_WAY = {state.path.replace("._side_by_side", "") for state in WORKING if state.name not in NOT_ON_THIS_WAY}
"""The states in which the bot works on the way to a closed ticket, as they are shown."""


def kill_workers(folder: Path, *plans: str) -> list[dict[str, Any]]:
    """What became of the workers of a workspace, the last of which ended the ticket."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.sre.bot.programs.mortal_workers", str(folder), *plans],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, f"{done.stderr[-4000:]}\n{done.stdout[-2000:]}"
    return [json.loads(line) for line in done.stdout.splitlines()]


async def check_each_effect_once(folder: Path) -> None:
    """One pull request with one commit, one merge, one sync, one approval, each remark once; the journal in order."""
    world = await open_world(folder)
    repository = GitRepository(folder / "manifests.git", identity=Identity("reader", "reader@example.org"))
    async with Engine(Workspace(folder, TICKET).store_url, workflow_for(world), works=False) as engine:
        run = await engine.get(TICKET, user=USER)
        assert run.outcome == CLOSED
        assert await states(run) == WHOLE_WAY
        steps = Counter((line.from_state, line.to_state) for line in await lines(run) if line.name == "transition")
        assert max(steps.values()) == 1
        await check_everything(engine.store)
    assert [path.name for path in (folder / "reviews").glob("pull-*")] == ["pull-1.json"]
    pull = await LocalReviews(folder / "reviews", repository).read(1)
    assert (pull.state, pull.round, [decision.by for decision in pull.decisions]) == ("merged", 1, ["ana"])
    history = await repository.history(await repository.head("main"))
    assert [commit.author.partition(" ")[0] for commit in history] == ["holdfast-sre", "Jonas", "Mara", "Priya", "Mara"]
    assert len(await repository.history(pull.head)) == 5
    live = LiveFolder(folder / "live").record()
    assert (live.revision, [sync.revision for sync in live.syncs]) == (pull.merged, [pull.merged])
    ticket = await TicketFolder(folder / "tickets").read(TICKET)
    said = [comment.text.partition(" ")[0] for comment in ticket.comments if comment.by == "holdfast-sre"]
    assert (ticket.status, said) == ("closed", ["Taken", "Cause:", "Pull", "repaired"])


def killed_in(workers: list[dict[str, Any]]) -> set[str]:
    """The states in which workers were killed."""
    return {state for worker in workers if worker["how"] == "SIGKILL" for state in worker["states"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plans", "passed_over"),
    [
        (("before-transition:3:kill", "before-transition:4:kill"), {"ticket_processing.review.approved"}),
        (("transition:2:kill", "transition:3:kill"), {"ticket_processing.review.approved"}),
    ],
    ids=["before", "after"],
)
def test_killed_around_every_transition(workspace: Path, plans: tuple[str, str], passed_over: set[str]) -> None:
    """Before: the state's work is done and its outcome lost. After: the outcome is stored and nothing begun.

    The first transitions of a worker tell of its recovery (and a lock), hence the numbers.
    """
    workers = kill_workers(workspace, *plans)
    assert {worker["how"] for worker in workers[:-1]} <= {"SIGKILL", "0"}  # 0: it waited for the approval
    assert ON_THE_WAY - killed_in(workers) <= passed_over, workers
    asyncio.run(check_each_effect_once(workspace))


@pytest.mark.slow
def test_killed_before_every_step(workspace: Path) -> None:
    """Before the first effect of a state, and after some; also of the two states side by side, and of the approval."""
    killed = killed_in(kill_workers(workspace, "step:1:kill", "step:3:kill"))
    side_by_side = {f"ticket_processing.analysis.{name}" for name in ("k8s_event_analysis", "source_code_analysis")}
    assert killed >= side_by_side | {"ticket_processing.review.approved"}
    assert len(killed) >= 8
    asyncio.run(check_each_effect_once(workspace))


@pytest.mark.slow
def test_killed_around_memos_and_claims(workspace: Path) -> None:
    """Where a state has two steps: the effect of the first is there and its result is not, or is just stored."""
    workers = kill_workers(workspace, "before-memo:1:kill", "claim:1:kill", "memo:1:kill", "memo:2:kill")
    killed = {worker["plan"] for worker in workers if worker["how"] == "SIGKILL"}
    assert killed >= {"before-memo:1:kill", "claim:1:kill", "memo:1:kill"}
    two_steps = {"ticket_processing.remediation.pr_creation", "ticket_processing.deployment.triggering_deployment"}
    assert killed_in(workers) >= two_steps
    asyncio.run(check_each_effect_once(workspace))
