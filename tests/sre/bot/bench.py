"""A bot at its bench: the demo's workspace, an engine over it, and what the tests read of both."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast import Engine, RunHandle
from holdfast.store.contract.protocol import Store
from holdfast_sre.evidence.snapshot import Ref
from holdfast_sre.flow.bot import USER, Bot
from holdfast_sre.flow.chart import AWAITING_REVIEW
from holdfast_sre.flow.world import World
from holdfast_sre.local.deployment import LiveFolder
from holdfast_sre.ports import Decision, PullRequest, Ticket, Verdict
from holdfast_sre.repair.tree.manifests import leaf
from holdfast_sre.report.story import Line, line_of

TICKET = "FERRY-17"
BOOKING = Ref("Deployment", "booking")
LIMIT = "spec.template.spec.containers[server].resources.limits.memory"
SOON_S = 30.0
"""How long anything may take before a test says what it waited for."""

ACCEPTANCE = ["validating_ticket", "accepting_ticket", "ticket_accepted"]
ANALYSIS = [
    "data_collection",
    "k8s_event_analysis|source_code_analysis",
    "correlation",
    "root_cause_generation",
    "confidence_calculation",
    "analysis_complete",
]
REMEDIATION = ["fix_generation", "code_validation", "test_generation", "pr_creation", "remediation_complete"]
DEPLOYMENT = ["triggering_deployment", "deployment_in_progress", "validation_in_progress"]


def under(sub_state: str, *detailed: str) -> list[str]:
    """The texts of states of one sub-state of ticket_processing."""
    return [f"ticket_processing:{sub_state}:{name}" for name in detailed]


TO_REVIEW = [
    "system_idle:monitoring",
    "system_idle:ticket_detected",
    *under("ticket_acceptance", *ACCEPTANCE),
    *under("analysis", *ANALYSIS),
    *under("remediation", *REMEDIATION),
    *under("review", "awaiting_review"),
]
ANOTHER_ROUND = [
    *under("review", "review_in_progress", "changes_requested"),
    *under("remediation", *REMEDIATION),
    *under("review", "awaiting_review"),
]
APPROVED = under("review", "review_in_progress", "approved")
WHOLE_WAY = [*TO_REVIEW, *APPROVED, *under("deployment", *DEPLOYMENT, "deployment_complete"), "system_idle"]


@dataclass
class Bench:
    """One bot over one workspace; `calls` counts what it asked of the ports, by name."""

    folder: Path
    engine: Engine
    world: World
    calls: Counter[str] = field(default_factory=Counter)

    @property
    def bot(self) -> Bot:
        return Bot(self.engine, self.world)

    async def begin(self, ticket: str = TICKET) -> RunHandle:
        """Let the bot take its tickets; the run of one of them."""
        await self.bot.take_tickets()
        await self.bot.watch_runs()
        return await self.engine.get(ticket, user=USER)

    async def to_review(self, ticket: str = TICKET) -> RunHandle:
        """A run that waits for review."""
        return await (await self.begin(ticket)).reach(AWAITING_REVIEW, timeout_s=SOON_S)

    async def ticket(self, ticket: str = TICKET) -> Ticket:
        return await self.world.tickets.read(ticket)

    async def pull(self, number: int = 1) -> PullRequest:
        return await self.world.reviews.read(number)

    async def decide(self, verdict: Verdict, *, by: str = "ana", text: str = "", key: str = "") -> PullRequest:
        """A person's decision on the current diff of pull request 1, made where pull requests are."""
        digest = (await self.pull()).diff.digest
        return await self.world.reviews.decide(1, Decision(verdict, by, digest, text, key))

    async def subjects(self, branch: str) -> list[str]:
        """The commits of a branch, newest first."""
        head = await self.world.repository.head(branch)
        return [commit.subject for commit in await self.world.repository.history(head)]

    async def live_limit(self) -> str | None:
        """The memory limit of the faulty deployment in what is live."""
        files = await LiveFolder(self.folder / "live").files()
        return None if files is None else leaf(files, BOOKING, LIMIT, namespace="ferry")


OpenBench = Callable[..., Awaitable[Bench]]
"""Opens a bench on the test's workspace; again after a `close` of its engine: the same runs. `change`: of the world."""


async def lines(run: RunHandle) -> list[Line]:
    """The journal of a run, decoded."""
    return [line_of(row) for row in await run.history()]


async def states(run: RunHandle) -> list[str]:
    """The states that a run entered, in order; the end of one region inside the same state is left out."""
    moves = [line for line in await lines(run) if line.name == "transition"]
    return [line.to_state for line in moves if line.to_state != line.from_state]


class Counting:
    """A port that counts the calls of its methods, and otherwise is the port."""

    def __init__(self, port: Any, calls: Counter[str]) -> None:
        self._port = port
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)

        async def counted(*args: Any, **kwargs: Any) -> Any:
            self._calls[name] += 1
            return await method(*args, **kwargs)

        return counted


class Away:
    """A deployment that is away for the first syncs."""

    def __init__(self, port: Any, error: Exception, times: int) -> None:
        self._port, self._error, self._left = port, error, times

    async def sync(self, *args: Any, **kwargs: Any) -> Any:
        if self._left:
            self._left -= 1
            raise self._error
        return await self._port.sync(*args, **kwargs)

    async def status(self) -> Any:
        return await self._port.status()


def write_ticket(folder: Path, ticket: str, **values: object) -> Path:
    """A ticket for the bot; values as in its file."""
    path = folder / "tickets" / f"{ticket}.json"
    usual = {"id": ticket, "title": "it is slow", "namespace": "ferry", "assignee": "holdfast-sre"}
    path.write_text(json.dumps(usual | values))
    return path


async def is_clean(store: Store) -> bool:
    """Whether every digest and chain of a store is right."""
    return bool((await store.verify()).is_clean)  # type: ignore[attr-defined]
