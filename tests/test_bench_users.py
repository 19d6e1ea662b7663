"""What the benchmark of users measures, it measures: each figure comes from work that was done."""

from __future__ import annotations

import pytest

pytest.importorskip("asyncpg")
pytest.importorskip("redis")

from benchmarks.bench_state import Places
from benchmarks.bench_users import (
    added_per_s,
    bytes_per_idle_user,
    bytes_per_waiting_call,
    published_per_s,
    read_per_s,
    sessions_per_s,
    wake_ups_ms,
    xread_per_s,
)
from benchmarks.server import Server
from holdfast.testing.servers import PostgresServer, ValkeyServer

SECONDS = 0.05


@pytest.fixture
def places(postgres_server: PostgresServer, valkey_server: ValkeyServer) -> Places:
    return Places(Server(postgres_server), valkey_server)


@pytest.mark.parametrize("store", ["sqlite", "postgres", "hybrid"])
async def test_streams_are_written_read_and_woken(places: Places, store: str) -> None:
    with places.url(store) as url:
        assert await published_per_s(url, SECONDS) > 0
    with places.url(store) as url:
        assert await read_per_s(url, 100) > 0
    for is_foreign in (False, True):
        with places.url(store) as url:
            assert len(await wake_ups_ms(url, 5, 3, is_foreign=is_foreign)) == 3


async def test_the_peer_writes_and_reads(places: Places) -> None:
    with places.url("redis") as url:
        assert await added_per_s(url, SECONDS) > 0
        assert await xread_per_s(url, 100) > 0


async def test_sessions_are_made_and_weighed() -> None:
    assert await sessions_per_s(SECONDS) > 0
    assert await bytes_per_idle_user(50) >= 0
    assert await bytes_per_waiting_call(50) >= 0
