"""The writer alone: durable changes a second, beside one bare SQLite commit after the other on the same disk.

Two kinds of change. A memo puts one small record that must be absent and requires the run's epoch. A transition writes
the run with its indexed fields, removes the visit's memos by prefix and appends a journal row. Every committer awaits
its answer before it sends the next change; 1, 50 and 500 of them at once.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from time import perf_counter

from benchmarks.harness import Comparison, compare, options, publish
from holdfast.store.contract.records import Change, Key, NewEvent, Put, RemovePrefix, Require, Scope
from holdfast.store.sqlite import schema, tables
from holdfast.store.sqlite.store import SqliteStore

BODY = b'{"service":"shop","findings":["image not found","probe port"],"confidence":0.83,"attempts":[1,2,3]}'
DELTA = b'{"patch":[{"op":"replace","path":"/confidence","value":0.83}]}'
LABELS = {"ticket": "INC-42", "workflow": "incident", "main_state": "ticket_processing"}
USERS = 20

MakeChange = Callable[[Key, int], Change]


def memo(run: Key, number: int) -> Change:
    """What a step leaves behind."""
    key = run._replace(kind="memo", id=f"{run.id}/1/{number}")
    return Change(
        change_id=f"{key.id}",
        writes=(Put(key=key, body=BODY, expect=0),),
        requires=(Require(key=run, epoch=1),),
    )


def transition(run: Key, number: int) -> Change:
    """What a step from one state to the next commits. The run was created at version 1."""
    return Change(
        change_id=f"{run.id}-{number}",
        writes=(
            Put(key=run, body=BODY, expect=number + 1, epoch=1, status="active", due=1.5e9 + number, labels=LABELS),
        ),
        removes=(RemovePrefix(tenant=run.tenant, user=run.user, kind="memo", prefix=f"{run.id}/{number}/"),),
        events=(NewEvent(key=run, name="transition", body=BODY, delta=DELTA),),
    )


def scope_of(run: Key) -> Scope:
    return Scope.of_user(run.tenant, run.user)


@asynccontextmanager
async def store_with_runs(count: int) -> AsyncIterator[tuple[SqliteStore, list[Key]]]:
    """A new store with `count` owned runs of several users."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "store.db")
        runs = [Key("acme", f"user-{number % USERS}", "run", f"0192-{number:06}") for number in range(count)]
        first = [Put(key=run, body=BODY, expect=0, status="active", owner="me", raise_epoch=True) for run in runs]
        await asyncio.gather(
            *(store.commit(scope_of(put.key), Change(change_id=put.key.id, writes=(put,))) for put in first)
        )
        try:
            yield store, runs
        finally:
            await store.close()


async def changes_per_s(make: MakeChange, committers: int, total: int) -> float:
    """Acknowledged changes a second."""
    async with store_with_runs(committers) as (store, runs):

        async def commit_all(run: Key) -> None:
            for number in range(total // committers):
                await store.commit(scope_of(run), make(run, number))

        started = perf_counter()
        await asyncio.gather(*(commit_all(run) for run in runs))
        return total // committers * committers / (perf_counter() - started)


async def ms_per_read(committers: int, total: int, *, is_busy: bool) -> float:
    """Mean milliseconds of one read, beside nobody or beside busy committers."""
    async with store_with_runs(committers) as (store, runs):
        is_over = False

        async def keep_committing(run: Key) -> None:
            for number in itertools.count():
                if is_over:
                    return
                await store.commit(scope_of(run), transition(run, number))

        writing = asyncio.gather(*(keep_committing(run) for run in runs)) if is_busy else None
        started = perf_counter()
        for number in range(total):
            await store.read(Scope.system(), [runs[number % committers]])
        elapsed_s = perf_counter() - started
        is_over = True
        if writing is not None:
            await writing
        return elapsed_s / total * 1000


async def ms_per_page(fetched: Callable[..., object]) -> float:
    """Milliseconds to fetch 500 records in a thread, beside an event loop that is busy with short callbacks."""
    async with store_with_runs(500) as (store, _):
        is_over = False

        async def keep_busy() -> None:
            while not is_over:
                sum(range(300))
                await asyncio.sleep(0)

        def fetch() -> None:
            with closing(schema.connect(store.path, "ro")) as connection:
                fetched(connection, f"SELECT {tables.RECORD} FROM records", ())

        busy = asyncio.gather(*(keep_busy() for _ in range(3)))
        started = perf_counter()
        await asyncio.to_thread(fetch)
        elapsed_s = perf_counter() - started
        is_over = True
        await busy
        return elapsed_s * 1000


def bare_commits_per_s(total: int) -> float:
    """One insert a transaction, synced, in the calling thread: what the disk and SQLite give at best."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(sqlite3.connect(Path(folder) / "bare.db", isolation_level=None)) as connection,
    ):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE t (id TEXT PRIMARY KEY, body TEXT)")
        started = perf_counter()
        for number in range(total):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO t VALUES (?, ?)", (f"0192-{number:06}", BODY.decode()))
            connection.execute("COMMIT")
        return total / (perf_counter() - started)


def questions(*, rounds: int, quick: bool, only: str) -> list[Comparison]:
    """Each kind of change at each number of committers, and reading beside them."""
    found = []
    for name, make in (("memo", memo), ("transition", transition)):
        for committers in (1, 50, 500):
            question = f"{name}s at {committers}"
            total = (1000 if committers == 1 else 10_000) // (10 if quick else 1)
            if only in question:
                ours = _ours(make, committers, total)
                contestants = {"holdfast": ours, "bare SQLite, 1 at a time": lambda: bare_commits_per_s(500)}
                found.append(compare(question, contestants, unit="changes/s", better="more", rounds=rounds))
    if only in "reads beside 50 committers":
        total = 20 if quick else 200
        found.append(
            compare(
                "reads beside 50 committers",
                {
                    "holdfast": lambda: asyncio.run(ms_per_read(50, total, is_busy=True)),
                    "holdfast, nobody commits": lambda: asyncio.run(ms_per_read(50, total, is_busy=False)),
                },
                unit="ms",
                better="less",
                rounds=rounds,
            )
        )
    if only in "500 rows beside a busy loop":
        at_once = functools.partial(tables.fetch, columns=tables.RECORD)
        contestants = {
            "holdfast": lambda: asyncio.run(ms_per_page(at_once)),
            "row by row": lambda: asyncio.run(ms_per_page(lambda *query: list(tables.fetch_lenient(*query)))),
        }
        found.append(compare("500 rows beside a busy loop", contestants, unit="ms", better="less", rounds=rounds))
    return found


def _ours(make: MakeChange, committers: int, total: int) -> Callable[[], float]:
    return lambda: asyncio.run(changes_per_s(make, committers, total))


def main() -> None:
    chosen = options(__doc__ or "", rounds=5)
    publish("writer", questions(rounds=chosen.rounds, quick=chosen.quick, only=chosen.only), chosen)


if __name__ == "__main__":
    main()
