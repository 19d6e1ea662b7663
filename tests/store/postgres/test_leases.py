"""The lease has a connection of its own: what keeps all the others busy does not lose it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from holdfast import Engine, Workflow
from holdfast.store.contract.records import Query, Scope
from holdfast.store.postgres import PostgresStore
from holdfast.workflow.model.run import PROCESS

HEARTBEAT_S = 0.1
LEASE_TTL_S = 0.5
POOL_SIZE = 3


async def test_a_pool_without_a_free_connection_does_not_lose_the_lease(database: str) -> None:
    """All connections for reading are lent out, and ten reads wait, for longer than a lease lasts. A second store looks
    on: the lease is renewed all the while, in time."""
    wf = Workflow("busy", data=dict)
    wf.wait("review", start=True, on={"approve": "done"})
    wf.final("done")
    store, onlooker = PostgresStore(f"{database}?pool_size={POOL_SIZE}"), PostgresStore(database)
    async with Engine(store, wf, lease_ttl_s=LEASE_TTL_S, heartbeat_s=HEARTBEAT_S) as engine:
        async with AsyncExitStack() as busy, asyncio.TaskGroup() as group:
            for _ in range(POOL_SIZE - 1):
                await busy.enter_async_context(store._connections.lent())
            reads = [group.create_task(store.scan(Scope.system(), Query(kind=PROCESS))) for _ in range(10)]
            first = (await onlooker.scan(Scope.system(), Query(kind=PROCESS))).records[0]
            last = first
            while last.written_at < first.written_at + 2 * LEASE_TTL_S:
                found = (await onlooker.scan(Scope.system(), Query(kind=PROCESS))).records
                assert [record.key for record in found] == [first.key]
                last = found[0]
                assert last.due is not None
                assert last.due > onlooker.now_s(), "the lease lapsed"
            assert not any(read.done() for read in reads), "the pool was not busy at all"
            await busy.aclose()
        assert engine.inside.ownership.lease_left_s() > 0
    await store.close()
    await onlooker.close()
