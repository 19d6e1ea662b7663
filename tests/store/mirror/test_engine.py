"""An engine on the mirror: what people look at comes from the cache, and what is decided does not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from holdfast import (
    Engine,
    RunContext,
    Status,
    UnknownWorkflow,
    UserExecutionContext,
    Workflow,
    WorkflowStateManager,
    health_of,
)
from holdfast.store.mirror import SyncManager
from holdfast.testing.servers import ValkeyServer
from tests.store.mirror.truths import until

ANA = UserExecutionContext(user="ana")


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def url(database: str, server: ValkeyServer) -> str:
    return f"hybrid+{database}?cache={server.url}"


def workflow() -> Workflow:
    workflow = Workflow("ticket", data=dict)

    @workflow.state("work", start=True, to="review")
    async def work(ctx: RunContext) -> None:
        ctx.data["done"] = await ctx.step("one", lambda: 1)

    workflow.wait("review", on={"approve": "closed"})
    workflow.final("closed")
    return workflow


async def warm(engine: Engine) -> None:
    """Returns once the engine's store uses its cache."""

    async def is_warm() -> bool:
        manager = WorkflowStateManager(engine, ANA, workflow="ticket")
        with pytest.raises(UnknownWorkflow):
            await manager.get_workflow_state("01999999-0000-7000-8000-000000000000")
        return bool(SyncManager(engine.store).figures().misses)

    await until(is_warm)


async def test_views_of_a_run_come_from_the_cache_and_never_go_back(url: str) -> None:
    async with Engine(url, workflow()) as engine:
        await warm(engine)
        sync = SyncManager(engine.store)
        run = await engine.start("ticket", {}, id="T-1", user="ana")
        await run.reach("review")
        await sync.flush()
        manager = WorkflowStateManager(engine, ANA, workflow="ticket")
        hits = sync.figures().hits
        for _ in range(5):
            assert (await manager.get_workflow_state(run.id)).main_state == "review"
            assert (await run.look()).state == "review"
        assert sync.figures().hits - hits >= 9  # the generation may have been raised by whoever started just now
        await run.send("approve", by="ben")
        assert (await manager.get_workflow_state(run.id)).main_state == "closed"
        assert (await run.look()).state == "closed"


async def test_views_in_another_process_keep_up(url: str) -> None:
    async with Engine(url, workflow()) as engine, Engine(url, workflow()) as other:
        await warm(other)
        run = await engine.start("ticket", {}, id="T-1", user="ana")
        await run.reach("review")
        seen = await other.client(context=ANA).get(run.id)
        manager = WorkflowStateManager(other, ANA, workflow="ticket")
        await run.send("approve", by="ben")
        newest = run.version

        async def is_seen() -> bool:
            before = seen.version
            await seen.look()
            assert seen.version >= before
            return seen.version == newest and (await manager.get_workflow_state(run.id)).main_state == "closed"

        await until(is_seen)


async def test_health_says_degraded_while_the_cache_is_away_and_runs_go_on(url: str, server: ValkeyServer) -> None:
    async with Engine(url, workflow()) as engine:
        await warm(engine)
        assert health_of(engine).status is Status.GREEN
        server.kill()

        async def is_degraded() -> bool:
            run = await engine.start("ticket", {}, user="ana")
            await run.reach("review")
            await run.look()
            await run.send("approve", by="ben")
            assert run.status == "done"
            return health_of(engine).status is Status.DEGRADED

        await until(is_degraded)
        (check,) = [check for check in health_of(engine).checks if check.status is not Status.GREEN]
        assert check.name == "store"
        assert f"127.0.0.1:{server.port}" in check.seen
        assert engine.store.ailment() is None
        server.start()

        async def is_green() -> bool:
            return health_of(engine).status is Status.GREEN

        await until(is_green)
