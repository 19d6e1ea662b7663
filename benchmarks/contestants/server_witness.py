"""A witness on a PostgreSQL server. A module of its own: whoever measures on SQLite needs no driver."""

from __future__ import annotations

import contextlib
import urllib.parse

import psycopg

from benchmarks.contestants.witness import Witness

SETTINGS = ("fsync", "synchronous_commit", "full_page_writes")


class ServerWitness(Witness):
    """Counts by `query` in the database at `url`, by a new connection each time."""

    def __init__(self, url: str, query: str) -> None:
        super().__init__(urllib.parse.urlsplit(url).path.lstrip("/"))
        self._url = url
        self._query = query

    def count(self) -> int:
        """The rows that are committed."""
        return int(self._ask(self._query))

    def setting(self) -> str:
        """What the server does for a commit."""
        return ", ".join(f"{name}={self._ask(f'SHOW {name}')}" for name in SETTINGS)

    def _ask(self, query: str) -> str:
        with contextlib.closing(psycopg.connect(self._url, autocommit=True)) as connection:
            answer = connection.execute(query.encode()).fetchone()
        assert answer is not None, "a count and a setting have one row"
        return str(answer[0])
