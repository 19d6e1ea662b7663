"""What every test gets: no task outlives an async test, and Hypothesis says how a failure is found again."""

from __future__ import annotations

import asyncio
import gc
import inspect
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, settings

from holdfast.store.postgres import PostgresStore
from holdfast.testing.servers import PostgresServer, ValkeyServer

settings.register_profile("everyday", deadline=None, print_blob=True)
settings.register_profile(
    "thorough", deadline=None, print_blob=True, max_examples=2000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("everyday")  # another one by: pytest --hypothesis-profile thorough

ON_SERVERS = ("postgres", "redis", "mirror", "hybrid", "cluster")
"""Words in the names of tests and of their parameters that tell of a server."""
WITH_PROCESSES = ("/crash/", "/simulation/", "/sre/bot/", "/agents/tools/test_processes")
"""Folders of tests that start processes or simulate many of them."""
THE_SAME_ON_EACH = (
    *("/isolation/", "/test_sealed", "/test_robustness", "/test_incidents", "/test_hostile_text"),
    *("/test_architecture", "/test_docs", "/test_bench", "/chart/", "/test_rules", "/test_merge", "/store/test_copy"),
    *("/store/fallback/", "/sre/history/", "/sre/repair/", "/sre/diagnosis/", "/sre/evidence/"),
    *("/sre/ports/test_manifests", "/sre/ports/test_repository"),
)
"""Pure rules, long lists of cases that other tests have few of, and looks at the sources: the same on every Python.
What depends on it is tried on each: loops, threads and processes, typing and serialisation, the command line."""
AT_LENGTH = (
    ("/crash/", "[mirror"),  # a mirror's engine works on its PostgreSQL, which has the same tests
    ("/test_sealed.py", "::TestOnTheMirror"),  # what is sealed is sealed above the store, whatever that is
    ("/test_sealed.py", "::TestOnRedis"),
    ("/mirror/test_conformance", "::TestEquivalence"),
    ("/on_redis/test_conformance", "::TestClusterEquivalence"),  # what a cluster does otherwise is in the contract
    ("/crash/test_migrated", "[postgresql-copy-page"),
    ("/fallback/test_conformance", "::TestEquivalence"),  # with its server there it only passes on
    ("/state/", "[redis"),
    ("/state/test_load", "[memory"),  # the quickest of them
    ("/state/", "[mirror-without"),
)
"""Files and parameters of tests that show again, on another store, what a shorter run shows on the others."""
LOOP_TURNS_TO_END = 10
"""A task that was cancelled or is done needs a few turns of the loop until it is gone; one that runs on needs more."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Async tests get `no_task_outlives_the_test`, before their own fixtures, so that it looks last. What a server
    answers, and what a killed process leaves, hardly depends on the Python that asks: such tests are `slow`."""
    for item in items:
        is_again = any(place in item.nodeid and kind in item.nodeid for place, kind in AT_LENGTH)
        if is_again and "test_a_kill_on_either_side" not in item.nodeid:
            item.add_marker(pytest.mark.long)
        if any(word in item.nodeid for word in (*ON_SERVERS, *WITH_PROCESSES, *THE_SAME_ON_EACH)):
            item.add_marker(pytest.mark.slow)
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
            item.fixturenames.insert(0, "no_task_outlives_the_test")


def pytest_collection_finish() -> None:
    """Or each look for garbage goes through eight thousand tests and all that they import: a third of a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture
async def no_task_outlives_the_test() -> AsyncIterator[None]:
    """Fails a test that leaves tasks behind: whoever starts a task ends it."""
    before = asyncio.all_tasks()
    yield
    for _ in range(LOOP_TURNS_TO_END):
        left = asyncio.all_tasks() - before - {asyncio.current_task()}
        if not left:
            return
        await asyncio.sleep(0)
    names = sorted(f"{task.get_name()}: {task.get_coro()!r}" for task in left)
    for task in left:
        task.cancel()
    pytest.fail(f"{len(names)} tasks outlived the test: {names}")


_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL for all tests of this process."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def empty_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a new database without anything in it."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    yield postgres_server.create_database(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def template(postgres_server: PostgresServer) -> str:
    """The name of a database that holds the schema and nothing else."""
    name = f"template_{os.getpid()}"
    url = postgres_server.create_database(name)

    async def prepare() -> None:
        store = PostgresStore(url)
        await store.migrate()
        await store.close()

    with ThreadPoolExecutor(1) as thread:  # for an async fixture may be what asks first, in a loop that runs
        thread.submit(lambda: asyncio.run(prepare())).result()
    return name


@pytest.fixture
def database(postgres_server: PostgresServer, template: str) -> Iterator[str]:
    """The URL of an empty store, new for each test: a copy of a template that is made once."""
    name = f"store_{os.getpid()}_{next(_numbers)}"
    yield postgres_server.create_database(name, template=template)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    """One Valkey for all tests of this process."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture(scope="session")
def valkey_cluster() -> Iterator[ValkeyServer]:
    """A cluster of one node for all tests of this process."""
    with ValkeyServer(is_cluster=True) as server:
        yield server


@pytest.fixture
def namespace() -> str:
    """What the keys of one test begin with, on a server that tests share."""
    return f"test-{os.getpid()}-{next(_numbers)}"
