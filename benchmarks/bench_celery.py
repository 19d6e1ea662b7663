"""Celery: tasks a second, plain and through us, from the first send to the last end.

Plain is a task that does nothing, acknowledged when it is done. Through us is a run with one state that does nothing:
started by the executor, handed to a worker by a message, durable at its start, its claim and its end. All are sent by
this process while two warm worker processes of the pool prefork take them from one Valkey. The last contestant has no
Celery: two worker processes of ours look for the same runs by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter, sleep

from celery import Celery, __version__

from benchmarks import server
from benchmarks.contestants import trivial
from benchmarks.harness import Comparison, Options, compare, options, publish
from holdfast import Engine
from holdfast.store.contract.records import Query, Scope
from holdfast.testing.servers import ValkeyServer
from holdfast.workflow.model.run import RUN

RUNS, QUICK_RUNS = 500, 40
WARM = 20
AT_ONCE = 200
USERS = 100
PROCESSES = 2
LOOK_S = 0.01
TIMEOUT_S = 300.0
OURS = "holdfast through Celery, PostgreSQL"


@contextlib.contextmanager
def celery_workers(broker: ValkeyServer, store: str) -> Iterator[None]:
    """Celery's worker of the benchmark's app; left once it has ended."""
    command = [sys.executable, "-m", "celery", "-A", "benchmarks.contestants.trivial", "worker", "-l", "ERROR"]
    environ = os.environ | {trivial.BROKER: broker.url, trivial.STORE: store}
    worker = subprocess.Popen(
        [*command, "-c", str(PROCESSES)], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        worker.terminate()
        worker.wait(TIMEOUT_S)


@contextlib.contextmanager
def our_workers(store: str) -> Iterator[None]:
    """Two worker processes of ours; left once they have ended."""
    command = [sys.executable, "-m", "benchmarks.contestants.trivial", store]
    with contextlib.ExitStack() as stack:
        for _ in range(PROCESSES):
            worker = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"ready\n"
        yield


def until_acknowledged(broker: ValkeyServer, queue: str) -> None:
    """Until no message waits, and none that was delivered is unacknowledged."""
    give_up_at = perf_counter() + TIMEOUT_S
    while broker.command("LLEN", queue) != ":0\r\n" or broker.command("HLEN", "unacked") != ":0\r\n":
        if perf_counter() > give_up_at:
            raise TimeoutError(f"queue {queue}: expected it to be empty within {TIMEOUT_S:g} s")
        sleep(LOOK_S)


def send(app: Celery, tasks: int) -> None:
    """Messages about the plain task, one after the other through one producer."""
    task = app.tasks["nothing"]
    with app.producer_pool.acquire(block=True) as producer:
        for _ in range(tasks):
            task.apply_async(producer=producer, retry=False)


def plain(broker: ValkeyServer, tasks: int) -> float:
    """Celery's own tasks a second. The app has our executor, too, with which nothing is done."""
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{Path(folder) / 'idle.db'}"
        app, _ = trivial.make(broker.url, store)
        with celery_workers(broker, store):
            send(app, WARM)
            until_acknowledged(broker, app.conf.task_default_queue)
            began = perf_counter()
            send(app, tasks)
            until_acknowledged(broker, app.conf.task_default_queue)
            return tasks / (perf_counter() - began)


async def run_all(engine: Engine, runs: int) -> None:
    """Start runs and wait for the last one's end."""
    for begin in range(0, runs, AT_ONCE):
        numbers = range(begin, min(runs, begin + AT_ONCE))
        await asyncio.gather(*(engine.start("trivial", user=f"user-{number % USERS}") for number in numbers))
    query = Query(kind=RUN, statuses=("running", "waiting", "suspect"))
    async with asyncio.timeout(TIMEOUT_S):
        while (await engine.store.scan(Scope.system(), query, limit=1)).records:  # noqa: ASYNC110 -- others do it
            await asyncio.sleep(LOOK_S)


async def timed(door: Engine, runs: int) -> float:
    """Runs a second, once the workers are warm."""
    async with door as engine:
        await run_all(engine, WARM)
        began = perf_counter()
        await run_all(engine, runs)
        return runs / (perf_counter() - began)


def through_celery(broker: ValkeyServer, store: str, runs: int) -> float:
    """Runs a second by Celery's workers."""
    _, executor = trivial.make(broker.url, store)
    with celery_workers(broker, store):
        return asyncio.run(timed(executor, runs))


def by_ourselves(store: str, runs: int) -> float:
    """Runs a second by workers of ours."""
    with our_workers(store):
        return asyncio.run(timed(Engine(store, trivial.workflow(), works=False), runs))


def comparison(broker: ValkeyServer, on: server.Server, chosen: Options) -> Comparison:
    """One question, five contestants."""
    runs = QUICK_RUNS if chosen.quick else RUNS

    def on_sqlite(measure: str) -> float:
        with tempfile.TemporaryDirectory() as folder:
            store = f"sqlite:///{Path(folder) / 'runs.db'}"
            return through_celery(broker, store, runs) if measure == "celery" else by_ourselves(store, runs)

    def on_postgres(measure: str) -> float:
        with on.database() as store:
            return through_celery(broker, store, runs) if measure == "celery" else by_ourselves(store, runs)

    return compare(
        "tasks from send to end",
        {
            OURS: lambda: on_postgres("celery"),
            "holdfast through Celery, SQLite": lambda: on_sqlite("celery"),
            "plain Celery": lambda: plain(broker, runs),
            "holdfast without Celery, PostgreSQL": lambda: on_postgres("ourselves"),
            "holdfast without Celery, SQLite": lambda: on_sqlite("ourselves"),
        },
        unit="tasks/s",
        better="more",
        rounds=chosen.rounds,
        ours=OURS,
        facts={"tasks": runs, "worker processes": PROCESSES, "Celery": __version__},
    )


def main() -> None:
    """Measure and print."""
    chosen = options(__doc__ or "", rounds=3)
    with ValkeyServer() as broker, server.running() as on:
        version = next(
            line.split(":")[1].strip()
            for line in broker.command("INFO", "server").splitlines()
            if line.startswith("valkey_version")
        )
        publish("celery", [comparison(broker, on, chosen)], chosen, servers=[on.version, f"Valkey {version}"])


if __name__ == "__main__":
    main()
