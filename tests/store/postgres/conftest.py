"""A database with the schema, new for each test: a copy of a template that is made once."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterator

import pytest

from holdfast.store.postgres import PostgresStore
from holdfast.testing.servers import PostgresServer

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def template(postgres_server: PostgresServer) -> str:
    """The name of a database that holds the schema and nothing else."""
    name = f"template_{os.getpid()}"
    url = postgres_server.create_database(name)

    async def prepare() -> None:
        store = PostgresStore(url)
        await store.migrate()
        await store.close()

    asyncio.run(prepare())
    return name


@pytest.fixture
def database(postgres_server: PostgresServer, template: str) -> Iterator[str]:
    """The URL of an empty store."""
    name = f"store_{os.getpid()}_{next(_numbers)}"
    yield postgres_server.create_database(name, template=template)
    postgres_server.drop_database(name)
