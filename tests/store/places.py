"""Fresh, empty places of every kind of store, for tests that go through pairs of them: one line a kind."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.clock import Clock
from holdfast.store.contract.protocol import OpenStore
from holdfast.store.open import open_store
from holdfast.testing.servers import PostgresServer, ValkeyServer

_numbers = itertools.count(1)


class Places:
    """Hands out URLs of places that nobody has used, and removes them in the end."""

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self._request = request
        self._folder = folder
        self._databases: list[str] = []

    def url(self, kind: str) -> str:
        """A fresh place of that kind."""
        return KINDS[kind](self)

    def open(self, kind: str, clock: Clock | None = None) -> OpenStore:
        """A store in a fresh place of that kind."""
        return open_store(self.url(kind), clock=clock)

    def file(self) -> str:
        """An SQLite file."""
        return f"sqlite:///{self._folder / f'{next(_numbers)}.db'}"

    def database(self) -> str:
        """A database of PostgreSQL without anything in it."""
        name = f"place_{os.getpid()}_{next(_numbers)}"
        url = self._postgres.create_database(name)
        self._databases.append(name)
        return url

    def keyspace(self) -> str:
        """Keys of Redis that nobody has used."""
        server: ValkeyServer = self._request.getfixturevalue("valkey_server")
        return f"{server.url}?namespace=place-{os.getpid()}-{next(_numbers)}"

    def close(self) -> None:
        """Remove what was handed out and would stay."""
        for name in self._databases:
            self._postgres.drop_database(name)

    @property
    def _postgres(self) -> PostgresServer:
        server: PostgresServer = self._request.getfixturevalue("postgres_server")
        return server


KINDS: Mapping[str, Callable[[Places], str]] = {
    "memory": lambda places: "memory:",
    "sqlite": Places.file,
    "postgres": Places.database,
    "redis": Places.keyspace,
}
LASTING = [kind for kind in KINDS if kind != "memory"]
"""Kinds of places that the command line takes."""
PAIRS = [
    (source, target)
    for source in KINDS
    for target in KINDS
    if source == target or "sqlite" in (source, target) or "memory" not in (source, target)
]


@contextmanager
def handed_out(request: pytest.FixtureRequest, folder: Path) -> Iterator[Places]:
    """The body of a fixture that gives places."""
    places = Places(request, folder)
    try:
        yield places
    finally:
        places.close()
