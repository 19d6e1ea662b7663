"""DBOS Transact helped along: the same on a file that was switched to WAL beforehand, which SQLite remembers."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from benchmarks.contestants import dbos_steps
from benchmarks.contestants.process import Measured, Size


async def run(place: str, size: Size) -> Measured:
    """As `dbos_steps`, on WAL; its connections keep SQLite's default `synchronous=FULL`."""
    with contextlib.closing(sqlite3.connect(Path(place) / dbos_steps.FILE)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    return await dbos_steps.run(place, size)
