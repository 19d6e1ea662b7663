"""holdfast on PostgreSQL: one state whose handler takes all the steps, the store as its URL opens it, one writer."""

from __future__ import annotations

from benchmarks.contestants.holdfast_steps import workflow
from benchmarks.contestants.process import Measured, Size
from benchmarks.contestants.server_witness import ServerWitness
from benchmarks.contestants.waves import measured
from holdfast import Engine

MEMOS = "SELECT count(*) FROM holdfast.records WHERE kind = 'memo'"


async def run(place: str, size: Size) -> Measured:
    """Every run of a wave started at once, by one user."""
    witness = ServerWitness(place, MEMOS)
    async with Engine(place, workflow(size, witness)) as engine:

        async def one(number: int) -> int:
            handle = await engine.start("count", number)
            result: int = (await handle.result())["number"]
            return result

        return await measured(one, size, witness)
