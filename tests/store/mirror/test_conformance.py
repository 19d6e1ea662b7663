"""The mirror passes the whole contract, with the cache and without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from holdfast.clock import Clock
from holdfast.store.mirror.store import MirrorStore
from holdfast.store.open import open_store as open_by_url
from holdfast.testing.conformance import AdminContract, EquivalenceContract, StoreContract
from holdfast.testing.servers import PostgresServer, ValkeyServer, free_port

Opening = Callable[..., Any]


class TestMirror(StoreContract, AdminContract):
    @pytest.fixture
    def open_store(self, database: str, valkey_server: ValkeyServer) -> Opening:
        url = f"hybrid+{database}?cache={valkey_server.url}"
        return lambda clock=None: open_by_url(url, clock=clock)


class TestMirrorWithoutItsCache(StoreContract):
    @pytest.fixture
    def open_store(self, database: str) -> Opening:
        url = f"hybrid+{database}?cache=redis://127.0.0.1:{free_port()}"
        return lambda clock=None: open_by_url(url, clock=clock)


class TestEquivalence(EquivalenceContract):
    @pytest.fixture
    def fresh_store(self, postgres_server: PostgresServer, database: str, valkey_server: ValkeyServer) -> Opening:
        name = database.rpartition("/")[2]

        def fresh(clock: Clock) -> MirrorStore:
            postgres_server.execute(
                "TRUNCATE holdfast.records, holdfast.events, holdfast.streams, holdfast.anchors;"
                "UPDATE holdfast.meta SET value = 1 WHERE name = 'incarnation'",
                database=name,
            )
            return MirrorStore(f"hybrid+{database}?cache={valkey_server.url}", clock=clock)

        return fresh
