"""Redis with a fallback passes the whole contract while it is there, and all that runs need while it is not."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from holdfast.clock import Clock
from holdfast.store.fallback.store import FallbackStore
from holdfast.testing.conformance import AdminContract, EquivalenceContract, StoreContract
from holdfast.testing.conformance.samples import SYSTEM, key
from holdfast.testing.servers import ValkeyServer, free_port

Opening = Callable[..., Any]


class TestWhileItIsThere(StoreContract, AdminContract):
    @pytest.fixture
    def open_store(self, valkey_server: ValkeyServer, namespace: str) -> Opening:
        url = f"{valkey_server.url}?namespace={namespace}&fallback=memory"
        return lambda clock=None: FallbackStore(url, clock=clock)


class TestWhileItIsAway(StoreContract):
    """Nothing but what operators do to a whole store is missing, for that is done to Redis or not at all."""

    @pytest.fixture
    def open_store(self) -> Opening:
        url = f"redis://127.0.0.1:{free_port()}/0?fallback=memory"
        return lambda clock=None: FallbackStore(url, clock=clock)

    @pytest.fixture
    async def store(self, open_store: Opening) -> AsyncIterator[FallbackStore]:
        store = open_store()
        await store.read(SYSTEM, [key("a")])
        assert store.figures().is_away
        yield store
        await store.close()


class TestEquivalence(EquivalenceContract):
    @pytest.fixture
    def fresh_store(self, valkey_server: ValkeyServer, namespace: str) -> Opening:
        numbers = itertools.count()

        def fresh(clock: Clock) -> FallbackStore:
            url = f"{valkey_server.url}?namespace={namespace}-{next(numbers)}&fallback=memory"
            return FallbackStore(url, clock=clock)

        return fresh
