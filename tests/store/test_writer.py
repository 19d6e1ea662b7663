"""The writer on its own: whom a failure hurts, and who is told."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast import faults
from holdfast.errors import CommitUnknown, InvalidInput, Unavailable
from holdfast.store.contract.records import Change
from holdfast.store.sqlite.store import SqliteStore
from holdfast.store.sqlite.turn import Turn
from holdfast.store.sqlite.writer import Writer
from holdfast.store.writing.intake import Intake
from holdfast.store.writing.outcome import commit_surely
from holdfast.store.writing.wakeup import Wakeup
from holdfast.testing.conformance.samples import ANA, SYSTEM, StepClock, change, event, key, must_read, put, read_one


class HeldExecutor(Executor):
    """Runs nothing until it is let go: so that a test decides what makes one batch."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(2)
        self._held: list[tuple[Future[Any], Callable[[], Any]]] = []
        self._is_held = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if not self._is_held:
            return self._threads.submit(fn, *args, **kwargs)
        future: Future[Any] = Future()
        self._held.append((future, functools.partial(fn, *args, **kwargs)))
        return future

    def hold(self) -> None:
        self._is_held = True

    def let_go(self) -> None:
        self._is_held = False
        for future, work in self._held:
            self._threads.submit(work).add_done_callback(functools.partial(pass_on, future))
        self._held.clear()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._threads.shutdown(wait, cancel_futures=cancel_futures)


def pass_on(to: Future[Any], done: Future[Any]) -> None:
    if error := done.exception():
        to.set_exception(error)
    else:
        to.set_result(done.result())


async def in_one_batch(store: SqliteStore, executor: HeldExecutor, changes: list[Change]) -> list[Any]:
    """The answers to changes that all wait when the writer comes to look."""
    executor.hold()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(gathered(store, changes))
        for _ in range(5):
            await asyncio.sleep(0)
        executor.let_go()
    return task.result()


async def gathered(store: SqliteStore, changes: list[Change]) -> list[Any]:
    return await asyncio.gather(*(store.commit(ANA, each) for each in changes), return_exceptions=True)


@pytest.fixture
def executor() -> Any:
    with HeldExecutor() as executor:
        yield executor


async def test_a_batch_is_one_transaction_and_one_time(tmp_path: Path, executor: HeldExecutor) -> None:
    store = SqliteStore(tmp_path / "store.db", executor=executor)
    answers = await in_one_batch(store, executor, [change(put(f"a{number}")) for number in range(100)])
    assert len({answer.at for answer in answers}) == 1
    await store.close()


@pytest.mark.parametrize("poisoned", [[0], [63], [17, 40, 41]])
async def test_what_sqlite_refuses_hurts_its_sender_alone(
    tmp_path: Path, executor: HeldExecutor, poisoned: list[int]
) -> None:
    """The gate lets it in, SQLite does not: the batch is halved until the culprit stands alone."""
    store = SqliteStore(tmp_path / "store.db", executor=executor)
    with closing(sqlite3.connect(tmp_path / "store.db")) as other:
        other.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON records WHEN NEW.status = 'poison'"
            " BEGIN SELECT raise(ABORT, 'poison'); END"
        )
    changes = [
        change(put(f"a{number}", status="poison" if number in poisoned else ""), event(f"a{number}"))
        for number in range(64)
    ]
    answers = await in_one_batch(store, executor, changes)
    failed = [number for number, answer in enumerate(answers) if isinstance(answer, BaseException)]
    assert failed == poisoned
    assert all(isinstance(answers[number], InvalidInput) for number in failed)
    assert store.ailment() is None
    rows = await store.events(ANA, stream=("acme", "ana"))
    assert [row.position.seq for row in rows] == list(range(1, 65 - len(poisoned)))
    await store.close()


class DyingClock(StepClock):
    """Fails where the writer does not expect it."""

    def __init__(self) -> None:
        super().__init__()
        self.is_dead = False

    def time_s(self) -> float:
        if self.is_dead:
            raise ZeroDivisionError("the clock stopped")
        return super().time_s()


async def test_dead_writer_fails_everybody_fast_and_says_why(tmp_path: Path, executor: HeldExecutor) -> None:
    clock = DyingClock()
    store = SqliteStore(tmp_path / "store.db", clock=clock, executor=executor)
    await store.commit(ANA, change(put("a")))
    clock.is_dead = True
    answers = await in_one_batch(store, executor, [change(put(f"b{number}")) for number in range(1000)])
    assert {type(answer) for answer in answers} == {Unavailable}
    assert len({id(answer) for answer in answers}) == 1000, "each has an error of his own"
    assert "its writer died of ZeroDivisionError: the clock stopped" in (store.ailment() or "")
    clock.is_dead = False
    with pytest.raises(Unavailable, match="writer died"):
        await store.commit(ANA, change(put("c")))
    assert (await must_read(store, "a")).version == 1
    assert await read_one(store, "b0") is None
    await store.close()


async def test_executor_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as threads:
        store = SqliteStore(tmp_path / "store.db", executor=threads)
    with pytest.raises(Unavailable, match="new futures after shutdown"):
        await store.commit(ANA, change(put("a")))
    with pytest.raises(Unavailable, match="new futures after shutdown"):
        await store.read(ANA, [key("a")])
    await store.close()


async def test_lost_answer_of_a_real_commit_is_looked_up(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    plan = faults.plan("store-after-commit:1:raise")
    try:
        answer = await commit_surely(store, ANA, change(put("a"), event("a")))
        assert plan.passed("store-after-commit") == 1
        assert answer.versions == (1,)
        faults.plan("store-after-commit:1:raise")
        with pytest.raises(CommitUnknown):
            await store.commit(ANA, change(put("b")))
        assert (await must_read(store, "b")).version == 1
    finally:
        faults.plan("")
        await store.close()


async def test_failed_commit_is_undone(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    faults.plan("store-before-commit:1:raise")
    try:
        with pytest.raises(Unavailable):
            await store.commit(ANA, change(put("a")))
        assert store.ailment() is not None
    finally:
        faults.plan("")
    assert await read_one(store, "a") is None
    assert (await store.commit(ANA, change(put("a")))).versions == (1,)
    assert store.ailment() is None
    await store.close()


async def test_reading_goes_on_while_the_writer_is_busy(tmp_path: Path, executor: HeldExecutor) -> None:
    """A read needs no turn: it is answered between two batches of a writer that never rests."""
    store = SqliteStore(tmp_path / "store.db")
    await store.commit(ANA, change(put("r")))
    is_over = False

    async def write(name: str) -> None:
        version = 0
        while not is_over:
            await store.commit(ANA, change(put(name, expect=version)))
            version += 1

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(write(f"w{number}")) for number in range(50)]
        for _ in range(50):
            async with asyncio.timeout(5):
                assert (await must_read(store, "r")).version == 1
        is_over = True
    assert all(task.done() for task in tasks)
    versions = [record.version for record in await store.read(SYSTEM, [key(f"w{n}") for n in range(50)]) if record]
    assert min(versions) > 0
    await store.close()


class Unsynced(sqlite3.Connection):
    """A connection whose next commit cannot say whether it reached the disk."""

    is_failing = False

    def execute(self, sql: str, /, *parameters: Any) -> sqlite3.Cursor:
        if sql == "COMMIT" and self.is_failing:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error
        return super().execute(sql, *parameters)


async def test_writer_stops_where_the_disk_does_not_say_what_it_holds(tmp_path: Path) -> None:
    """After a sync that failed nothing is known of the file: what was in the batch is unknown, the rest is refused."""
    path = tmp_path / "store.db"
    await SqliteStore(path).close()
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Unsynced)
    executor = HeldExecutor()
    writer = Writer(
        connection,
        path=path,
        executor=executor,
        turn=Turn(path, name="me", timeout_s=20),
        clock=StepClock(),
        wakeup=Wakeup(),
        intake=Intake(batch_changes_max=2),
    )
    connection.is_failing = True
    executor.hold()
    async with asyncio.TaskGroup() as group:
        work = asyncio.gather(
            *(writer.commit(ANA, change(put(f"a{number}")), 2) for number in range(4)), return_exceptions=True
        )
        task = group.create_task(asyncio.wait([work]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        executor.let_go()
    assert task.done()
    assert [type(answer) for answer in work.result()] == [CommitUnknown, CommitUnknown, Unavailable, Unavailable]
    assert "outcome is unknown" in (writer.ailment() or "")
    connection.is_failing = False
    with pytest.raises(Unavailable, match="outcome is unknown"):
        await writer.commit(ANA, change(put("b")), 2)
    await writer.close()
    executor.shutdown()
