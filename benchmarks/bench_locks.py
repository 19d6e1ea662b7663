"""Locks: acquire and give back, by 1 and by 50 contenders for one lock, in pairs a second.

holdfast holds by `Engine.lock` on each store: in order of asking, fenced, durable, with a lease that is renewed.
redis-py is its asyncio `Lock` with a timeout: no order, no token, and as durable as Redis. PostgreSQL's advisory lock
is one statement each way on a connection for each contender: in order, no token, and gone with its connection. All are
called from one process; nothing is done while the lock is held.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from time import perf_counter

import asyncpg
import redis.asyncio

from benchmarks import server
from benchmarks.bench_state import DURABLE, Places
from benchmarks.harness import Comparison, Options, compare, options, publish
from holdfast import Engine
from holdfast.testing.servers import ValkeyServer

CONTENDERS = (1, 50)
STORES = ("sqlite", "postgres", "hybrid", "redis")
SECONDS, QUICK_SECONDS = 3.0, 0.3
TTL_S = 30.0
ADVISORY_KEY = 7

Pair = Callable[[int], Awaitable[None]]
"""Acquires the one lock and gives it back, for a contender by its number."""
Connect = Callable[[str, int], AbstractAsyncContextManager[Pair]]
"""At a URL, for so many contenders."""


@contextlib.asynccontextmanager
async def by_engine(url: str, contenders: int) -> AsyncIterator[Pair]:
    """`Engine.lock`, all contenders on one engine."""
    async with Engine(url, works=False) as engine:

        async def pair(number: int) -> None:
            async with engine.lock("repository", "company/cart", user=f"user-{number}", ttl_s=TTL_S):
                return

        yield pair


@contextlib.asynccontextmanager
async def by_redis_lock(url: str, contenders: int) -> AsyncIterator[Pair]:
    """redis-py's asyncio `Lock`, one client with a connection for each contender."""
    async with redis.asyncio.from_url(url, max_connections=contenders + 1) as client:

        async def pair(number: int) -> None:
            async with client.lock("company/cart", timeout=TTL_S):
                return

        yield pair


@contextlib.asynccontextmanager
async def by_advisory_lock(url: str, contenders: int) -> AsyncIterator[Pair]:
    """`pg_advisory_lock` and `pg_advisory_unlock`, a connection for each contender."""
    async with asyncpg.create_pool(url, min_size=contenders, max_size=contenders) as pool:

        async def pair(number: int) -> None:
            async with pool.acquire() as connection:
                await connection.execute("SELECT pg_advisory_lock($1)", ADVISORY_KEY)
                await connection.execute("SELECT pg_advisory_unlock($1)", ADVISORY_KEY)

        yield pair


async def per_s(connect: Connect, url: str, contenders: int, seconds: float) -> float:
    """Pairs a second, all contenders together."""
    async with connect(url, contenders) as pair:
        await pair(0)
        ends_at = (began := perf_counter()) + seconds

        async def repeat(number: int) -> int:
            done = 0
            while perf_counter() < ends_at:
                await pair(number)
                done += 1
            return done

        done = sum(await asyncio.gather(*map(repeat, range(contenders))))
        return done / (perf_counter() - began)


def comparisons(places: Places, chosen: Options) -> Iterator[Comparison]:
    """Every question that was asked for."""
    seconds = QUICK_SECONDS if chosen.quick else SECONDS
    for store in STORES:
        for contenders in CONTENDERS:
            question = f"acquire and give back, {store}, {contenders} contender{'s' if contenders > 1 else ''}"
            if chosen.only in question:
                yield comparison(places, store, contenders, question, seconds, chosen.rounds)


def comparison(places: Places, store: str, contenders: int, question: str, seconds: float, rounds: int) -> Comparison:
    """One question: ours on that store, beside what people use."""

    def contestant(place: str, connect: Connect) -> Callable[[], float]:
        def measure() -> float:
            with places.url(place) as url:
                return asyncio.run(per_s(connect, url, contenders, seconds))

        return measure

    return compare(
        question,
        {
            "holdfast": contestant(store, by_engine),
            "redis-py Lock": contestant("redis", by_redis_lock),
            "PostgreSQL advisory lock": contestant("postgres", by_advisory_lock),
        },
        unit="pairs/s",
        better="more",
        rounds=rounds,
    )


def main() -> None:
    """Measure and print."""
    chosen = options(__doc__ or "", rounds=5)
    with server.running() as on, ValkeyServer(options=DURABLE) as valkey:
        publish("locks", list(comparisons(Places(on, valkey), chosen)), chosen, servers=[on.version])


if __name__ == "__main__":
    main()
