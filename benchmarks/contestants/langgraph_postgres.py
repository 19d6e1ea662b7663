"""LangGraph with its AsyncPostgresSaver and `durability="sync"`: a pool of 8 connections, and 8 savers on it.

One saver takes one lock around every call, so that runs with one saver share one connection whatever the pool holds.
With a saver for each connection it makes more steps, so that is what it gets.
"""

from __future__ import annotations

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from benchmarks.contestants.langgraph_steps import measured_with
from benchmarks.contestants.process import Measured, Size
from benchmarks.contestants.server_witness import ServerWitness

CONNECTIONS = 8
POOL_TIMEOUT_S = 300.0


async def run(place: str, size: Size) -> Measured:
    """As on SQLite, with the settings of a connection that its documentation asks for."""
    witness = ServerWitness(place, "SELECT count(*) FROM checkpoints")
    options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    pool: AsyncConnectionPool[AsyncConnection[DictRow]] = AsyncConnectionPool(
        place, min_size=CONNECTIONS, max_size=CONNECTIONS, kwargs=options, open=False, timeout=POOL_TIMEOUT_S
    )
    async with pool:
        savers = [AsyncPostgresSaver(pool) for _ in range(CONNECTIONS)]
        await savers[0].setup()
        return await measured_with(savers, size, witness)
