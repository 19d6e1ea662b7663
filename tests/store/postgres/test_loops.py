"""One store, many loops: whoever asks from wherever is served, and no connection is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from holdfast.store.postgres import PostgresStore
from holdfast.testing.conformance.samples import ANA, change, event, key, must_read, put
from holdfast.testing.servers import PostgresServer


@pytest.fixture
def name(database: str) -> str:
    return database.rpartition("/")[2]


def connected(server: PostgresServer, name: str) -> int:
    """How many connections the server counts on this database, psql's own aside (it is on another)."""
    return int(server.execute(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'"))


def until_none_is_left(server: PostgresServer, name: str) -> None:
    """A backend takes a moment to notice that its client is gone."""
    for _ in range(200):
        if connected(server, name) == 0:
            return
        threading.Event().wait(0.05)
    pytest.fail(f"{connected(server, name)} connections are left")


async def work(store: PostgresStore, id_: str, *, times: int = 1) -> None:
    """Commits, reads and hears of it."""
    tick = await store.wait(0)
    for number in range(times):
        await store.commit(ANA, change(put(f"{id_}-{number}"), event(f"{id_}-{number}")))
        assert (await must_read(store, f"{id_}-{number}")).version == 1
    assert await store.wait(tick) > tick


async def until_told() -> None:
    """The store goes on, and what it tells others of the last commit ends by itself."""
    async with asyncio.timeout(10):
        while any(task.get_name() == "holdfast:notice" for task in asyncio.all_tasks()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_twenty_loops_in_a_row(postgres_server: PostgresServer, database: str, name: str) -> None:
    store = PostgresStore(database)
    for number in range(20):
        asyncio.run(work(store, f"loop{number}"))
    until_none_is_left(postgres_server, name)
    asyncio.run(store.close())


def test_four_threads_with_a_loop_each(postgres_server: PostgresServer, database: str, name: str) -> None:
    store = PostgresStore(database)
    together = threading.Barrier(4)
    done: list[str] = []

    def run(id_: str) -> None:
        together.wait(30)
        for turn in range(3):
            asyncio.run(work(store, f"{id_}{turn}", times=10))
        done.append(id_)

    threads = [threading.Thread(target=run, args=(id_,)) for id_ in "wxyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert sorted(done) == list("wxyz")

    async def count() -> int:
        rows = await store.events(ANA, stream=("acme", "ana"))
        await store.close()
        return len(rows)

    assert asyncio.run(count()) == 4 * 3 * 10
    until_none_is_left(postgres_server, name)


def test_a_fork_opens_its_own_connections_and_harms_none_of_its_parents(
    postgres_server: PostgresServer, database: str, name: str
) -> None:
    store = PostgresStore(database)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(work(store, "before"))
    pid = os.fork()
    if pid == 0:
        code = 1
        try:

            async def in_child() -> None:
                await work(store, "child", times=5)
                await store.close()

            asyncio.run(in_child())
            gc.collect()
            code = 0
        finally:
            os._exit(code)
    loop.run_until_complete(work(store, "beside", times=20))
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    loop.run_until_complete(work(store, "after"))
    found = loop.run_until_complete(
        store.read(ANA, [key(f"{id_}-0") for id_ in ("before", "child", "beside", "after")])
    )
    assert all(found)
    loop.run_until_complete(store.close())
    loop.close()
    until_none_is_left(postgres_server, name)


def test_a_loop_that_died_without_closing_leaves_no_connection(
    postgres_server: PostgresServer, database: str, name: str
) -> None:
    store = PostgresStore(database)
    for number in range(3):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(work(store, f"dead{number}"))
        loop.run_until_complete(until_told())  # asyncio itself complains of what is under way when a loop dies
        loop.close()
    asyncio.run(work(store, "next"))
    until_none_is_left(postgres_server, name)
    gc.collect()
    asyncio.run(store.close())


@pytest.fixture(scope="module")
def shared(postgres_server: PostgresServer, template: str) -> Iterator[PostgresStore]:
    """A store made once for many tests, used in each test's own loop and in loops that last longer."""
    name = f"shared_{os.getpid()}"
    store = PostgresStore(postgres_server.create_database(name, template=template))
    yield store
    asyncio.run(store.close())
    postgres_server.drop_database(name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def long_lived(shared: PostgresStore) -> AsyncIterator[PostgresStore]:
    await work(shared, "module fixture")
    yield shared
    await work(shared, "end of the module fixture")


@pytest_asyncio.fixture
async def short_lived(shared: PostgresStore) -> AsyncIterator[PostgresStore]:
    yield shared
    await must_read(shared, "module fixture-0")
    await until_told()


async def test_fixtures_of_two_scopes(long_lived: PostgresStore, short_lived: PostgresStore) -> None:
    assert long_lived is short_lived
    await work(short_lived, "own loop")


@pytest.mark.asyncio(loop_scope="module")
async def test_in_the_modules_loop(long_lived: PostgresStore) -> None:
    await work(long_lived, "module loop")


@pytest.mark.asyncio(loop_scope="session")
async def test_in_the_sessions_loop(long_lived: PostgresStore) -> None:
    await work(long_lived, "session loop")


async def test_in_a_loop_of_its_own_again(long_lived: PostgresStore, short_lived: PostgresStore) -> None:
    await asyncio.gather(*(work(short_lived, f"again{number}") for number in range(5)))


def test_without_a_loop(shared: PostgresStore) -> None:
    asyncio.run(work(shared, "no loop"))
