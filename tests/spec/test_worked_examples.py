"""The spec's three worked examples, against a repository host on loopback: a restart in review (W7), two tickets and
one repository (W9), a transient error (W10)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from holdfast import (
    Client,
    Engine,
    ErrorSeverity,
    ErrorType,
    Lease,
    RunContext,
    UserExecutionContext,
    Workflow,
    WorkflowError,
    WorkflowStateManager,
)
from holdfast.locks import lock_key
from holdfast.store.contract.records import Scope
from holdfast.testing import Lab
from tests.spec.repository_host import RepositoryHost, request, serving

ANA = UserExecutionContext(user="ana")


class Fix(msgspec.Struct):
    repository: str = "company/microservice-x"
    pull: int = 0
    token: int = 0


@pytest.fixture
def host() -> Iterator[RepositoryHost]:
    with serving(RepositoryHost(first_pull=789)) as serving_host:
        yield serving_host


def workflow_on(host: RepositoryHost, *, gate: asyncio.Event | None = None) -> Workflow:
    """Open a pull request under the repository's lock, then wait for its review."""
    workflow = Workflow("fix", data=Fix)

    def open_pull(repository: str, title: str, *, key: str) -> int:
        return int(request(f"{host.url}/{repository}/pulls", {"title": title, "key": key})["number"])

    @workflow.state("repair", start=True, to="awaiting_review", lock=lambda data: ("repository", data.repository))
    async def repair(ctx: RunContext) -> None:
        ctx.data.token = ctx.token
        ctx.data.pull = await ctx.step("open-pr", open_pull, ctx.data.repository, ctx.ticket_id, once="run")
        if gate is not None:
            await gate.wait()

    workflow.wait("awaiting_review", on={"approve": "approved", "reject": "rejected"})
    workflow.final("approved", "rejected")
    return workflow


async def heed(engine: Engine, host: RepositoryHost) -> None:
    """What a bot does for its waiting runs: ask the host what was decided, and tell the run."""
    client: Client = engine.client("ana")
    runs, _ = await client.runs(statuses=("waiting",))
    for run in runs:
        pull = await asyncio.to_thread(request, f"{host.url}/{run.data.repository}/pulls/{run.data.pull}")
        if pull["state"] != "open":
            await run.send(pull["state"], by="reviewer", id=f"pull-{pull['number']}-{pull['state']}")


async def test_w7_a_run_that_awaited_review_of_pull_request_789_goes_on_watching_it(
    host: RepositoryHost, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    async with Engine(url, workflow_on(host)) as engine:
        run = await engine.start("fix", id="TICKET-1", user="ana")
        await run.reach("awaiting_review", timeout_s=10)
        assert run.data.pull == 789
        await heed(engine, host)
        assert (await run.refresh()).state == "awaiting_review"
    host.judge(789, "approve")
    async with Engine(url, workflow_on(host)) as engine:
        assert await engine.recover_active_workflows() == []
        found = await engine.get("TICKET-1", user="ana")
        assert (found.state, found.data.pull) == ("awaiting_review", 789)
        await heed(engine, host)
        await found.reach("approved", timeout_s=10)
    assert list(host.pulls) == [789]
    assert [path for method, path in host.requests if method == "POST"] == ["/company/microservice-x/pulls"]


@pytest.mark.parametrize("place", ["memory", "sqlite"])
async def test_w9_the_second_ticket_waits_for_the_repository_of_the_first(
    host: RepositoryHost, tmp_path: Path, place: str
) -> None:
    url = "memory:" if place == "memory" else f"sqlite:///{tmp_path / 'runs.db'}"
    gate = asyncio.Event()
    async with Engine(url, workflow_on(host, gate=gate)) as engine:
        first = await engine.start("fix", id="TICKET-1", user="ana")
        await asyncio.to_thread(host.wait_for_pulls, 1)
        second = await engine.start("fix", id="TICKET-2", user="bob")
        other = await engine.start("fix", id="TICKET-3", user="bob", data=Fix(repository="company/other"))
        await asyncio.to_thread(host.wait_for_pulls, 2)
        assert {pull["title"] for pull in host.pulls.values()} == {"TICKET-1", "TICKET-3"}
        assert [leaf.phase for leaf in (await second.refresh()).run.leaves.values()] == ["locking"]
        gate.set()
        await asyncio.gather(*(run.reach("awaiting_review", timeout_s=10) for run in (first, second, other)))
        assert {pull["title"] for pull in host.pulls.values()} == {"TICKET-1", "TICKET-2", "TICKET-3"}
        assert second.data.token > first.data.token


@pytest.mark.parametrize("place", ["memory", "sqlite"])
async def test_w9_acquire_resource_lock_lets_the_second_wait_for_the_first(tmp_path: Path, place: str) -> None:
    url = "memory:" if place == "memory" else f"sqlite:///{tmp_path / 'runs.db'}"
    order: list[str] = []
    tokens: list[int] = []
    async with Engine(url, idle_workflow()) as engine:
        managers = [
            WorkflowStateManager(engine, UserExecutionContext(user=user), workflow="idle") for user in ("ana", "bob")
        ]
        inside, leave = asyncio.Event(), asyncio.Event()

        async def first() -> None:
            async with managers[0].acquire_resource_lock("repository", "company/microservice-x") as lease:
                assert isinstance(lease, Lease)
                order.append("first in")
                tokens.append(lease.token)
                inside.set()
                await leave.wait()
                order.append("first out")

        async def second() -> None:
            await inside.wait()
            async with managers[1].acquire_resource_lock("repository", "company/microservice-x") as lease:
                order.append("second in")
                tokens.append(lease.token)

        tasks = [asyncio.ensure_future(first()), asyncio.ensure_future(second())]
        await inside.wait()
        await until_waiting(engine)
        assert order == ["first in"]
        leave.set()
        await asyncio.gather(*tasks)
    assert order == ["first in", "first out", "second in"]
    assert tokens[0] < tokens[1]


async def test_w10_a_transient_error_is_retried_by_itself_after_two_seconds(host: RepositoryHost) -> None:
    host.refuse_next = 1
    async with Lab(workflow_on(host), user="ana") as lab:
        run = await lab.start("fix", id="TICKET-1")
        await lab.settle()
        await run.refresh()
        assert (run.run.main_state, run.run.sub_state, run.run.retry_count) == ("error_handling", "retry", 1)
        await lab.skip("1.9s")
        assert host.pulls == {}
        await lab.skip("0.2s")
        assert (await run.refresh()).state == "awaiting_review"
        assert list(host.pulls) == [789]


async def test_w10_a_reported_error_is_handled_without_losing_progress(host: RepositoryHost) -> None:
    async with Lab(workflow_on(host), user="ana") as lab:
        run = await lab.start("fix", id="TICKET-1")
        await lab.settle()
        manager = WorkflowStateManager(lab.engine, ANA, workflow="fix")
        error = WorkflowError(
            error_type=ErrorType.TRANSIENT,
            severity=ErrorSeverity.MEDIUM,
            message="the host did not answer",
            workflow_id=run.id,
            retry_count=1,
        )
        state = await manager.handle_workflow_error(error)
        assert (str(state.main_state.value), state.retry_count) == ("error_handling", 1)  # type: ignore[union-attr]
        assert state.context["pull"] == 789
        await lab.skip("2s")
        assert (await run.refresh()).state == "awaiting_review"
        states = [row.to_state for row in await manager.get_transition_history(run.id)]
        assert states[-4:] == [
            "error_handling:error_detection",
            "error_handling:retry_evaluation",
            "error_handling:retry",
            "awaiting_review",
        ]


def idle_workflow() -> Workflow:
    workflow = Workflow("idle")
    workflow.wait("wait", start=True, on={"go": "end"})
    workflow.final("end")
    return workflow


async def until_waiting(engine: Engine) -> None:
    """Until somebody stands in line for the lock."""
    key = lock_key("main", "repository", "company/microservice-x")
    tick = 0
    async with asyncio.timeout(10):
        while True:
            (record,) = await engine.store.read(Scope.system(), [key])
            if record is not None and record.body.count(b'"holder"') == 2:
                return
            tick = await engine.store.wait(tick)
