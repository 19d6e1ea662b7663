"""No engine: a plain insert of a row like a step's result, by a text key, on WAL with `synchronous=FULL`.

The floor of what one durable step can cost on this disk: nothing is remembered, judged, locked or handed to a thread.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from benchmarks.contestants.process import Measured, Size
from benchmarks.contestants.waves import measured
from benchmarks.contestants.witness import FileWitness

INSERT = "INSERT INTO memos (id, body) VALUES (?, ?)"


def opened(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode, usable from any one thread at a time, to a file with one table."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE memos (id TEXT PRIMARY KEY, body TEXT NOT NULL)")
    return connection


async def run(place: str, size: Size) -> Measured:
    """One commit after the other, on the thread of the loop."""
    path = Path(place) / "bare.db"
    witness = FileWitness(path, "SELECT count(*) FROM memos")
    with contextlib.closing(opened(path)) as connection:

        async def one(number: int) -> int:
            for place in range(size.steps):
                witness.saw_body()
                connection.execute(INSERT, (f"{number}/counting#1/add/{place}", str(number + place)))
            return number + size.steps

        return await measured(one, size, witness)
