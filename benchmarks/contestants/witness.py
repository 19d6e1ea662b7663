"""A second connection to a contestant's file: it sees what is committed, whatever the contestant believes."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path


class Witness:
    """Counts a contestant's durable rows by `query` in the file at `path`.

    While `is_watching`, which it is in the first run, every body calls `saw_body`: the step before must be committed.
    """

    def __init__(self, path: Path, query: str) -> None:
        self._path = path
        self._query = query
        self._counts: list[int] = []
        self.is_watching = False

    def saw_body(self) -> None:
        """A body begins: count."""
        if self.is_watching:
            self._counts.append(self.count())

    def check(self, steps: int) -> None:
        """Raises AssertionError unless each body but the first found the rows grown by the step before it."""
        grown = [after - before for before, after in zip(self._counts, self._counts[1:], strict=False)]
        if len(self._counts) != steps or any(rows < 1 for rows in grown):
            raise AssertionError(
                f"{self._path.name}: expected {steps} bodies, each after the step before it was committed; "
                f"saw these rows when they began: {self._counts}"
            )

    def count(self) -> int:
        """The rows that are committed."""
        with contextlib.closing(sqlite3.connect(self._path)) as connection:
            (rows,) = connection.execute(self._query).fetchone()
        return int(rows)

    def journal_mode(self) -> str:
        """The journal mode of the file. (`synchronous` belongs to a connection: see each contestant.)"""
        with contextlib.closing(sqlite3.connect(self._path)) as connection:
            (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        return str(mode)
