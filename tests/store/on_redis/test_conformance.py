"""Redis passes the whole contract, on one server and on a cluster."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.clock import Clock
from holdfast.store.redis import RedisStore
from holdfast.testing.conformance import AdminContract, EquivalenceContract, StoreContract
from holdfast.testing.servers import ValkeyServer

Opening = Callable[..., Any]


class TestRedis(StoreContract, AdminContract):
    @pytest.fixture
    def open_store(self, valkey_server: ValkeyServer, namespace: str) -> Opening:
        return lambda clock=None: RedisStore(f"{valkey_server.url}?namespace={namespace}", clock=clock)


class TestCluster(StoreContract, AdminContract):
    @pytest.fixture
    def open_store(self, valkey_cluster: ValkeyServer, namespace: str) -> Opening:
        url = f"redis+cluster://127.0.0.1:{valkey_cluster.port}?namespace={namespace}"
        return lambda clock=None: RedisStore(url, clock=clock)


class TestEquivalence(EquivalenceContract):
    @pytest.fixture
    def fresh_store(self, valkey_server: ValkeyServer, namespace: str) -> Opening:
        numbers = itertools.count()

        def fresh(clock: Clock) -> RedisStore:
            return RedisStore(f"{valkey_server.url}?namespace={namespace}-{next(numbers)}", clock=clock)

        return fresh


class TestClusterEquivalence(EquivalenceContract):
    @pytest.fixture
    def fresh_store(self, valkey_cluster: ValkeyServer, namespace: str) -> Opening:
        numbers = itertools.count()
        url = f"redis+cluster://127.0.0.1:{valkey_cluster.port}"
        return lambda clock: RedisStore(f"{url}?namespace={namespace}-{next(numbers)}", clock=clock)
