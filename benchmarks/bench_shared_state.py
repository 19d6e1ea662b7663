"""Shared state: get, set, transaction, update by a StateManager, beside LangGraph's Store, bare asyncpg and redis-py.

In operations a second, with 1 or 50 writers. Ours keeps versions, who, why, a journal and digests of each change; a
LangGraph Store keeps the value and two times; asyncpg does it by one indexed statement on a table with a version, and
redis-py by GET, SET and MULTI, which check nothing. A transaction changes two objects on what it read: with asyncpg
BEGIN, SELECT FOR UPDATE, two UPDATEs, COMMIT; a LangGraph Store has none, so it puts the two in one batch, without
reading. An update adds one to an object that all writers share: asyncpg by UPDATE ... SET n = n + 1, redis-py by INCR;
a LangGraph Store has no such thing and is not asked. `fsync` on PostgreSQL, `synchronous=FULL` on SQLite, `appendfsync
always` on Valkey.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from time import perf_counter
from typing import Any, NamedTuple

import asyncpg
import redis.asyncio
from langgraph.store.base import PutOp
from langgraph.store.postgres.aio import AsyncPostgresStore
from langgraph.store.sqlite.aio import AsyncSqliteStore

from benchmarks import server
from benchmarks.bench_state import DURABLE, WORKERS, Places
from benchmarks.harness import Comparison, Options, compare, options, publish
from holdfast import StateManager, StateTransaction, UserExecutionContext
from holdfast.testing.servers import ValkeyServer

VALUE = {"service": "shop", "findings": ["image not found", "probe port"], "confidence": 0.83, "attempts": [1, 2, 3]}
TEXT = '{"service":"shop","findings":["image not found","probe port"],"confidence":0.83,"attempts":[1,2,3]}'
ANA = UserExecutionContext(user="ana", tenant="acme")
SECONDS, QUICK_SECONDS = 1.5, 0.1

Operation = Callable[[int], Awaitable[object]]
"""Does one thing for a writer, by his number."""


class Client(NamedTuple):
    """Somebody who does all four, each writer with objects of his own, but for `update`."""

    get: Operation
    set: Operation
    transaction: Operation
    update: Operation | None = None


Connect = Callable[[str, int], AbstractAsyncContextManager[Client]]


@contextlib.asynccontextmanager
async def holdfast_state(url: str, writers: int) -> AsyncIterator[Client]:
    """Through a StateManager on the store at `url`."""
    async with StateManager(url, sweep_every=None) as state:

        async def set_(number: int) -> object:
            return await state.set(ANA, f"agent/{number}", VALUE)

        async def transaction(number: int) -> object:
            async def work(t: StateTransaction) -> None:
                await t.read_all([f"agent/{number}", f"other/{number}"])
                await t.set(f"agent/{number}", VALUE)
                await t.set(f"other/{number}", VALUE)

            return await state.transact(ANA, work)

        await asyncio.gather(*map(transaction, range(writers)))
        yield Client(
            lambda number: state.get(ANA, f"agent/{number}"),
            set_,
            transaction,
            lambda _: state.update(ANA, "count", lambda value: value + 1, initial=0),
        )


@contextlib.asynccontextmanager
async def langgraph_postgres(url: str, writers: int) -> AsyncIterator[Client]:
    """A pool of as many connections as there are writers."""
    pool: Any = {"min_size": writers, "max_size": writers}
    async with AsyncPostgresStore.from_conn_string(url, pool_config=pool) as store:
        await store.setup()
        yield await _langgraph(store, writers)


@contextlib.asynccontextmanager
async def langgraph_sqlite(url: str, writers: int) -> AsyncIterator[Client]:
    """Its one connection."""
    async with AsyncSqliteStore.from_conn_string(url.removeprefix("sqlite:///")) as store:
        await store.setup()
        yield await _langgraph(store, writers)


async def _langgraph(store: Any, writers: int) -> Client:
    space = ("acme", "ana")

    async def transaction(number: int) -> object:
        return await store.abatch([PutOp(space, f"agent/{number}", VALUE), PutOp(space, f"other/{number}", VALUE)])

    async def get(number: int) -> object:
        found = await store.aget(space, f"agent/{number}")
        assert found is not None, "a get is a hit"
        return found

    await asyncio.gather(*map(transaction, range(writers)))
    return Client(get, lambda number: store.aput(space, f"agent/{number}", VALUE), transaction)


@contextlib.asynccontextmanager
async def bare_asyncpg(url: str, writers: int) -> AsyncIterator[Client]:
    """Prepared statements on a pool of a connection for each writer."""
    update = "UPDATE states SET version = version + 1, body = $2 WHERE id = $1"
    async with asyncpg.create_pool(url, min_size=writers, max_size=writers) as pool:
        await pool.execute("CREATE TABLE states (id text PRIMARY KEY, version bigint NOT NULL, body text NOT NULL)")
        await pool.execute("CREATE TABLE counts (id text PRIMARY KEY, n bigint NOT NULL)")
        await pool.execute("INSERT INTO counts VALUES ('count', 0)")
        names = [f"{kind}/{number}" for kind in ("agent", "other") for number in range(writers)]
        await pool.executemany("INSERT INTO states VALUES ($1, 1, $2)", [(name, TEXT) for name in names])

        async def get(number: int) -> object:
            found = await pool.fetchrow("SELECT version, body FROM states WHERE id = $1", f"agent/{number}")
            assert found is not None, "a get is a hit"
            return found

        async def transaction(number: int) -> object:
            both = [f"agent/{number}", f"other/{number}"]
            async with pool.acquire() as connection, connection.transaction():
                await connection.fetch("SELECT version, body FROM states WHERE id = ANY($1) FOR UPDATE", both)
                for name in both:
                    await connection.execute(update, name, TEXT)
            return both

        yield Client(
            get,
            lambda number: pool.execute(update, f"agent/{number}", TEXT),
            transaction,
            lambda _: pool.fetchval("UPDATE counts SET n = n + 1 WHERE id = 'count' RETURNING n"),
        )


@contextlib.asynccontextmanager
async def redis_py(url: str, writers: int) -> AsyncIterator[Client]:
    """A connection for each writer."""
    async with redis.asyncio.Redis.from_url(url, max_connections=writers) as client:

        async def transaction(number: int) -> object:
            async with client.pipeline(transaction=True) as pipe:
                return await pipe.set(f"agent/{number}", TEXT).set(f"other/{number}", TEXT).execute()

        async def get(number: int) -> object:
            found = await client.get(f"agent/{number}")
            assert found is not None, "a get is a hit"
            return found

        await asyncio.gather(*map(transaction, range(writers)))
        yield Client(get, lambda n: client.set(f"agent/{n}", TEXT), transaction, lambda _: client.incr("count"))


CONTESTANTS: dict[str, dict[str, tuple[str, Connect]]] = {
    "sqlite": {
        "holdfast": ("sqlite", holdfast_state),
        "LangGraph Store": ("sqlite", langgraph_sqlite),
    },
    "postgres": {
        "holdfast": ("postgres", holdfast_state),
        "LangGraph Store": ("postgres", langgraph_postgres),
        "bare asyncpg": ("postgres", bare_asyncpg),
        "redis-py": ("redis", redis_py),
    },
}


async def per_s(connect: AbstractAsyncContextManager[Client], what: str, writers: int, seconds: float) -> float:
    """How often a second `writers` do it, once each has done so once."""
    async with connect as client:
        operation: Operation = getattr(client, what)
        await asyncio.gather(*map(operation, range(writers)))
        ends_at = (began := perf_counter()) + seconds

        async def repeat(number: int) -> int:
            done = 0
            while perf_counter() < ends_at:
                await operation(number)
                done += 1
            return done

        done = sum(await asyncio.gather(*map(repeat, range(writers))))
        return done / (perf_counter() - began)


def comparisons(places: Places, chosen: Options) -> Iterator[Comparison]:
    """Every question that was asked for."""
    seconds = QUICK_SECONDS if chosen.quick else SECONDS
    for store, contestants in CONTESTANTS.items():
        for what in Client._fields:
            for writers in WORKERS:
                question = f"{what} on {store}, {writers} at once"
                asked = {
                    name: _contestant(places, place, connect, what, writers, seconds)
                    for name, (place, connect) in contestants.items()
                    if not (what == "update" and name == "LangGraph Store")
                }
                if chosen.only in question:
                    yield compare(question, asked, unit="operations/s", better="more", rounds=chosen.rounds)


def _contestant(
    places: Places, place: str, connect: Connect, what: str, writers: int, seconds: float
) -> Callable[[], float]:
    def measure() -> float:
        with places.url(place) as url:
            return asyncio.run(per_s(connect(url, writers), what, writers, seconds))

    return measure


def main() -> None:
    """Measure and print."""
    chosen = options(__doc__ or "", rounds=5)
    with server.running() as on, ValkeyServer(options=DURABLE) as valkey:
        asked = list(comparisons(Places(on, valkey), chosen))
        found = valkey.command("INFO", "server").splitlines()
        version = next(line.split(":")[1].strip() for line in found if line.startswith("valkey_version"))
        publish("shared-state", asked, chosen, servers=[on.version, f"Valkey {version}"])


if __name__ == "__main__":
    main()
