"""Behind a pooler in transaction mode, where the next transaction meets another session: all of it works."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from holdfast import Engine, RunContext, Workflow
from holdfast.store.postgres import PostgresStore
from holdfast.testing.conformance.claiming import ClaimingContract
from holdfast.testing.conformance.committing import CommittingContract
from holdfast.testing.conformance.waiting import WaitingContract
from tests.network.pooler import Pooler, pooled

RUNS = 20
LIMIT_S = 45.0


@pytest.fixture
def pooler(database: str) -> Iterator[Pooler]:
    """A pooler with fewer connections than the store has."""
    with pooled(database) as pooler:
        yield pooler
    assert pooler.moves == pooler.transactions, "somebody kept his session: nothing was shown"


class TestBehindAPooler(CommittingContract, ClaimingContract, WaitingContract):
    """What goes in transactions of every kind, and what would be told to a session."""

    @pytest.fixture
    def open_store(self, pooler: Pooler) -> Callable[..., Any]:
        return lambda clock=None: PostgresStore(pooler.url, clock=clock)


async def test_the_schema_is_made_through_a_pooler(empty_database: str) -> None:
    with pooled(empty_database) as pooler:
        store = PostgresStore(pooler.url)
        assert await store.migrate()
        assert await store.migrate() == []
        await store.close()


async def test_an_engine_works_and_hears_of_another_through_a_pooler(pooler: Pooler) -> None:
    """Nobody can listen there: who waits for what another process does sees it at the next look."""
    wf = Workflow("asked", data=dict)

    @wf.state("work", start=True, to="review")
    async def work(ctx: RunContext) -> None:
        ctx.data["number"] = await ctx.step("number", int, ctx.input)

    wf.wait("review", on={"approve": "done"})
    wf.final("done")
    store, other = PostgresStore(pooler.url), PostgresStore(pooler.url)
    async with asyncio.timeout(LIMIT_S), Engine(store, wf) as engine, Engine(other, wf, works=False) as door:
        async with asyncio.TaskGroup() as group:
            results = []
            for number in range(RUNS):
                run = await engine.start("asked", number, id=f"T-{number}")
                results.append(group.create_task(run.result()))
                await run.reach("review")
            for number in range(RUNS):
                await (await door.get(f"T-{number}")).send("approve", by="ana")
        assert [task.result() for task in results] == [{"number": number} for number in range(RUNS)]
        assert engine.inside.problems == {}
    await store.close()
    await other.close()
