"""DBOS Transact on SQLite as it comes: it leaves the file at `journal_mode=delete`, `synchronous=FULL`.

Its own warning says that SQLite is meant for development and tests; PostgreSQL is its home.
"""

from __future__ import annotations

import logging
from pathlib import Path

from dbos import DBOS

from benchmarks.contestants.process import Measured, Size
from benchmarks.contestants.waves import measured
from benchmarks.contestants.witness import FileWitness, Witness

FILE = "dbos.sqlite"


async def run(place: str, size: Size) -> Measured:
    """In a file of its own."""
    path = Path(place) / FILE
    return await measured_at(f"sqlite:///{path}", size, FileWitness(path, "SELECT count(*) FROM operation_outputs"))


async def measured_at(url: str, size: Size, witness: Witness) -> Measured:
    """Every run called at once, on the loop of the caller: its fastest way in."""
    logging.disable(logging.WARNING)
    DBOS(config={"name": "count", "system_database_url": url})

    @DBOS.step()
    async def add(number: int) -> int:
        witness.saw_body()
        return number + 1

    @DBOS.workflow()
    async def count(number: int) -> int:
        for _ in range(size.steps):
            number = await add(number)
        return number

    DBOS.launch()
    try:
        return await measured(count, size, witness)
    finally:
        DBOS.destroy()
