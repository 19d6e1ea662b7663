"""A second connection to a contestant's database: it sees what is committed, whatever the contestant believes."""

from __future__ import annotations

import contextlib
import sqlite3
from abc import ABC, abstractmethod
from pathlib import Path


class Witness(ABC):
    """Counts a contestant's durable rows; `place` names its database in errors.

    While `is_watching`, which it is in the first run, every body calls `saw_body`: the step before must be committed.
    """

    def __init__(self, place: str) -> None:
        self._place = place
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
                f"{self._place}: expected {steps} bodies, each after the step before it was committed; "
                f"saw these rows when they began: {self._counts}"
            )

    @abstractmethod
    def count(self) -> int:
        """The rows that are committed."""

    @abstractmethod
    def setting(self) -> str:
        """How the database keeps what is committed."""


class FileWitness(Witness):
    """Counts by `query` in the SQLite file at `path`."""

    def __init__(self, path: Path, query: str) -> None:
        super().__init__(path.name)
        self._path = path
        self._query = query

    def count(self) -> int:
        """The rows that are committed."""
        with contextlib.closing(sqlite3.connect(self._path)) as connection:
            (rows,) = connection.execute(self._query).fetchone()
        return int(rows)

    def setting(self) -> str:
        """The journal mode of the file. `synchronous` belongs to a connection: each contestant says that it is FULL."""
        with contextlib.closing(sqlite3.connect(self._path)) as connection:
            (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        return f"journal_mode={mode}, synchronous=FULL"
