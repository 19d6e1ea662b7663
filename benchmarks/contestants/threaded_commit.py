"""No engine: `bare_commit` from an event loop that must not block, through an executor of one thread and back."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.contestants.bare_commit import INSERT, opened
from benchmarks.contestants.process import Measured, Size
from benchmarks.contestants.waves import measured
from benchmarks.contestants.witness import FileWitness


async def run(place: str, size: Size) -> Measured:
    """One commit after the other, each awaited."""
    path = Path(place) / "bare.db"
    witness = FileWitness(path, "SELECT count(*) FROM memos")
    loop = asyncio.get_running_loop()
    with contextlib.closing(opened(path)) as connection, ThreadPoolExecutor(1) as executor:

        async def one(number: int) -> int:
            for place in range(size.steps):
                witness.saw_body()
                row = (f"{number}/counting#1/add/{place}", str(number + place))
                await loop.run_in_executor(executor, connection.execute, INSERT, row)
            return number + size.steps

        return await measured(one, size, witness)
