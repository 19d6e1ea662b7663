"""DBOS Transact on SQLite as it comes: it leaves the file at `journal_mode=delete`, `synchronous=FULL`.

Its own warning says that SQLite is meant for development and tests; PostgreSQL is its home.
"""

from __future__ import annotations

import logging
from pathlib import Path

from dbos import DBOS

from benchmarks.contestants.process import Measured, Size
from benchmarks.contestants.waves import measured
from benchmarks.contestants.witness import Witness

FILE = "dbos.sqlite"


async def run(folder: Path, size: Size) -> Measured:
    """Every run called at once, on the loop of the caller: its fastest way in."""
    logging.disable(logging.WARNING)
    path = folder / FILE
    witness = Witness(path, "SELECT count(*) FROM operation_outputs")
    DBOS(config={"name": "count", "system_database_url": f"sqlite:///{path}"})

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
