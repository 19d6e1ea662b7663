"""Whoever gets and puts state in the benchmark does it, on every place that there is."""

from __future__ import annotations

import pytest

pytest.importorskip("asyncpg")
pytest.importorskip("redis")

from benchmarks.bench_state import Places, by_asyncpg, by_redis, known_stores, per_s, through_store
from benchmarks.server import Server
from holdfast.testing.servers import PostgresServer, ValkeyServer

SECONDS = 0.05
CLIENTS = {"postgres": by_asyncpg, "redis": by_redis}


@pytest.fixture
def places(postgres_server: PostgresServer, valkey_server: ValkeyServer) -> Places:
    return Places(Server(postgres_server), valkey_server)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("what", ["get", "put"])
@pytest.mark.parametrize("store", known_stores())
async def test_a_store_gets_and_puts(places: Places, store: str, what: str, workers: int) -> None:
    with places.url(store) as url:
        assert await per_s(lambda count: through_store(url, count), what, workers, SECONDS) > 0


@pytest.mark.parametrize("what", ["get", "put"])
@pytest.mark.parametrize("place", CLIENTS)
async def test_a_bare_client_gets_and_puts(places: Places, place: str, what: str) -> None:
    with places.url(place) as url:
        assert await per_s(lambda count: CLIENTS[place](url, count), what, 3, SECONDS) > 0
