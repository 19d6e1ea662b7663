"""PostgreSQL passes the whole contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from holdfast.clock import Clock
from holdfast.store.postgres import PostgresStore
from holdfast.testing.conformance import AdminContract, EquivalenceContract, StoreContract
from holdfast.testing.servers import PostgresServer

Opening = Callable[..., Any]


class TestPostgres(StoreContract, AdminContract):
    @pytest.fixture
    def open_store(self, database: str) -> Opening:
        return lambda clock=None: PostgresStore(database, clock=clock)


class TestEquivalence(EquivalenceContract):
    @pytest.fixture
    def fresh_store(self, postgres_server: PostgresServer, database: str) -> Opening:
        name = database.rpartition("/")[2]

        def fresh(clock: Clock) -> PostgresStore:
            postgres_server.execute(
                "TRUNCATE holdfast.records, holdfast.events, holdfast.streams, holdfast.anchors;"
                "UPDATE holdfast.meta SET value = 1 WHERE name = 'incarnation'",
                database=name,
            )
            return PostgresStore(database, clock=clock)

        return fresh
