"""State get and put: one record through a store of holdfast, beside bare asyncpg and redis-py, in operations a second.

A get reads one record that is there, on the mirror by the read that its cache may answer. A put commits one record at
the version that it must have. asyncpg does the same by one indexed SELECT and by one UPDATE with a version in its
WHERE; redis-py by GET and SET, which checks nothing. What is put is durable everywhere: `fsync` on PostgreSQL,
`synchronous=FULL` on SQLite, `appendfsync always` on Valkey. 1 or 50 workers have a record each and do one thing after
the other; the bare clients have a connection for each worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from time import perf_counter

import asyncpg
import redis.asyncio

from benchmarks import server
from benchmarks.harness import Comparison, Options, compare, options, publish
from benchmarks.server import Server
from holdfast.store.contract.beyond import read_recent
from holdfast.store.contract.records import ABSENT, Change, Key, Put, Scope
from holdfast.store.open import open_store
from holdfast.testing.servers import ValkeyServer

BODY = b'{"service":"shop","findings":["image not found","probe port"],"confidence":0.83,"attempts":[1,2,3]}'
SCOPE = Scope.of_user("acme", "ana")
WORKERS = (1, 50)
SECONDS, QUICK_SECONDS = 1.5, 0.1
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
LATER = {"redis": "holdfast.store.redis", "hybrid": "holdfast.store.mirror"}
"""Stores that are measured once this version of holdfast has them."""

Operation = Callable[[int], Awaitable[object]]
"""Does one thing for a worker, by its number."""


class Client:
    """Somebody who gets and puts, each worker his own record."""

    def __init__(self, get: Operation, put: Operation) -> None:
        self.get = get
        self.put = put


Connect = Callable[[int], AbstractAsyncContextManager[Client]]
"""A client for so many workers, whose records are there."""


@contextlib.asynccontextmanager
async def through_store(url: str, workers: int) -> AsyncIterator[Client]:
    """The store at `url`."""
    store = open_store(url)
    keys = [Key("acme", "ana", "state", f"{number:04}") for number in range(workers)]
    versions = [ABSENT] * workers
    turns = [0] * workers

    async def get(number: int) -> object:
        (found,) = await read_recent(store, SCOPE, [keys[number]])
        assert found is not None, "a get is a hit"
        return found.body

    async def put(number: int) -> object:
        turns[number] += 1
        write = Put(key=keys[number], body=BODY, expect=versions[number])
        done = await store.commit(SCOPE, Change(change_id=f"{url}/{number}/{turns[number]}", writes=(write,)))
        versions[number] = done.versions[0]
        return done

    try:
        await asyncio.gather(*map(put, range(workers)))
        yield Client(get, put)
    finally:
        await store.close()


@contextlib.asynccontextmanager
async def by_asyncpg(url: str, workers: int) -> AsyncIterator[Client]:
    """One statement each, prepared, on a pool of a connection for each worker."""
    versions = [1] * workers
    async with asyncpg.create_pool(url, min_size=workers, max_size=workers) as pool:
        await pool.execute("CREATE TABLE states (id text PRIMARY KEY, version bigint NOT NULL, body text NOT NULL)")
        rows = [(str(number), 1, BODY.decode()) for number in range(workers)]
        await pool.executemany("INSERT INTO states VALUES ($1, $2, $3)", rows)

        async def get(number: int) -> object:
            found = await pool.fetchrow("SELECT version, body FROM states WHERE id = $1", str(number))
            assert found is not None, "a get is a hit"
            return found["body"]

        async def put(number: int) -> object:
            update = "UPDATE states SET version = version + 1, body = $3 WHERE id = $1 AND version = $2"
            tag = await pool.execute(update, str(number), versions[number], BODY.decode())
            assert tag == "UPDATE 1", "nobody else writes a worker's record"
            versions[number] += 1
            return tag

        yield Client(get, put)


@contextlib.asynccontextmanager
async def by_redis(url: str, workers: int) -> AsyncIterator[Client]:
    """GET and SET on a connection for each worker."""
    async with redis.asyncio.Redis.from_url(url, max_connections=workers) as client:

        async def get(number: int) -> object:
            found = await client.get(f"state:{number}")
            assert found is not None, "a get is a hit"
            return found

        async def put(number: int) -> object:
            return await client.set(f"state:{number}", BODY)

        await asyncio.gather(*map(put, range(workers)))
        yield Client(get, put)


async def per_s(connect: Connect, what: str, workers: int, seconds: float) -> float:
    """How often a second `workers` get or put, once each has done so once."""
    async with connect(workers) as client:
        operation: Operation = getattr(client, what)
        await asyncio.gather(*map(operation, range(workers)))
        ends_at = (began := perf_counter()) + seconds

        async def repeat(number: int) -> int:
            done = 0
            while perf_counter() < ends_at:
                await operation(number)
                done += 1
            return done

        done = sum(await asyncio.gather(*map(repeat, range(workers))))
        return done / (perf_counter() - began)


class Places:
    """New places, one for each measurement."""

    def __init__(self, on: Server, valkey: ValkeyServer) -> None:
        self._on = on
        self._valkey = valkey

    @contextlib.contextmanager
    def url(self, store: str) -> Iterator[str]:
        """Of an empty store of this kind."""
        if store in ("redis", "hybrid"):
            self._valkey.command("FLUSHALL")
        if store == "sqlite":
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                yield f"sqlite:///{Path(folder) / 'state.db'}"
        elif store == "redis":
            yield self._valkey.url
        else:
            with self._on.database() as database:
                yield database if store == "postgres" else f"hybrid+{database}?cache={self._valkey.url}"


def comparisons(places: Places, stores: list[str], chosen: Options) -> Iterator[Comparison]:
    """Every question that was asked for."""
    seconds = QUICK_SECONDS if chosen.quick else SECONDS
    for store in stores:
        for what in ("get", "put"):
            for workers in WORKERS:
                question = f"{what} on {store}, {workers} at once"
                if chosen.only in question:
                    yield _comparison(question, places, store, what, workers, seconds, rounds=chosen.rounds)


def _comparison(
    question: str, places: Places, store: str, what: str, workers: int, seconds: float, *, rounds: int
) -> Comparison:
    def contestant(
        place: str, connect: Callable[[str, int], AbstractAsyncContextManager[Client]]
    ) -> Callable[[], float]:
        def measure() -> float:
            with places.url(place) as url:
                return asyncio.run(per_s(lambda count: connect(url, count), what, workers, seconds))

        return measure

    return compare(
        question,
        {
            "holdfast": contestant(store, through_store),
            "bare asyncpg": contestant("postgres", by_asyncpg),
            "redis-py": contestant("redis", by_redis),
        },
        unit="operations/s",
        better="more",
        rounds=rounds,
    )


def known_stores() -> list[str]:
    """The stores that this version of holdfast has; a word about the others goes to stderr."""
    found = ["sqlite", "postgres"]
    for store, module in LATER.items():
        if importlib.util.find_spec(module) is None:
            print(f"{store}: skipped, there is no {module} yet", file=sys.stderr)
        else:
            found.append(store)
    return found


def main() -> None:
    """Measure and print."""
    chosen = options(__doc__ or "", rounds=5)
    with server.running() as on, ValkeyServer(options=DURABLE) as valkey:
        asked = list(comparisons(Places(on, valkey), known_stores(), chosen))
        version = next(
            line.split(":")[1].strip()
            for line in valkey.command("INFO", "server").splitlines()
            if line.startswith("valkey_version")
        )
        publish("state", asked, chosen, servers=[on.version, f"Valkey {version}"])


if __name__ == "__main__":
    main()
