"""What the engine says and keeps when its store fails it: a dead writer, closed loops, a full, read-only, newer or
damaged file."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

import asyncpg
import pytest

from holdfast import Engine, RunContext, Unavailable, Workflow, health_of
from holdfast.clock import SystemClock
from holdfast.errors import Corrupt
from holdfast.store.open import open_store
from holdfast.store.sqlite.store import SqliteStore
from holdfast.store.sqlite.turn import Turn
from tests.engine.crash.findings import examine, found_in
from tests.engine.crash.processes import FILE, LIMIT_S, ON_POSTGRES, ON_SQLITE, Stage, until

RUNS = 20
FAILS_FAST_S = 5.0
"""Bound on how long a call waits for a store that will not come back. The engine's patience with it is 2 s."""


class BreakableClock(SystemClock):
    """A store's clock that can be made to break in the thread that writes: no error that a writer expects."""

    def __init__(self) -> None:
        self.is_broken = False

    def time_s(self) -> float:
        if self.is_broken and threading.current_thread().name.startswith("holdfast-writer"):
            raise ZeroDivisionError("the clock stopped")
        return super().time_s()


class Held:
    """A workflow whose one step waits until the test lets it go, counting its bodies."""

    def __init__(self) -> None:
        self.bodies = 0
        self.may_end = asyncio.Event()
        self.workflow = Workflow("held", data=dict)
        self.workflow.add_state("work", self._work, start=True, to="done")
        self.workflow.final("done")

    async def _work(self, ctx: RunContext) -> None:
        ctx.data["number"] = await ctx.step("body", self._body, ctx.input)

    async def _body(self, number: int) -> int:
        self.bodies += 1
        await self.may_end.wait()
        return number


class CountingExecutor(ThreadPoolExecutor):
    """Says how much work it was given."""

    submitted = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.submitted += 1
        return super().submit(fn, *args, **kwargs)


@ON_SQLITE
async def test_when_the_writer_dies_everybody_hears_it_fast_and_health_is_red(stage: Stage) -> None:
    """Runs at work, runs being started, and one that asks afterwards; what was acknowledged is there for the next."""
    held, clock = Held(), BreakableClock()
    store = SqliteStore(stage.file, clock=clock)
    async with Engine(store, held.workflow) as engine:
        for number in range(RUNS):
            await engine.start("held", number, id=f"T-{number}")
        await until(lambda: held.bodies == RUNS, "all bodies at work")
        assert health_of(engine).status.value == "green"
        clock.is_broken = True
        held.may_end.set()
        async with asyncio.timeout(FAILS_FAST_S):
            starts = [engine.start("held", number, id=f"L-{number}") for number in range(RUNS)]
            answers = await asyncio.gather(*starts, return_exceptions=True)
        assert {type(answer) for answer in answers} == {Unavailable}
        assert "writer died of ZeroDivisionError: the clock stopped" in str(answers[0])
        health = health_of(engine)
        assert health.status.value == "red"
        assert "writer died" in next(check.seen for check in health.checks if check.name == "store")
    await store.close()
    async with Engine(stage.url, held.workflow) as engine:
        for number in range(RUNS):
            await (await engine.get(f"T-{number}")).result(timeout_s=20)
    assert set(await asyncio.to_thread(examine, stage.url)) == {f"T-{number}" for number in range(RUNS)}


async def test_one_store_serves_engines_on_two_loops_and_a_thread(stage: Stage) -> None:
    """One engine here, one on the loop of a thread, and a third loop that only reads: no "different loop", each run
    is worked on once."""
    store = open_store(stage.url)
    here, there = Held(), Held()
    here.may_end.set()
    there.workflow.name = "held-there"

    async def elsewhere() -> list[Any]:
        there.may_end = asyncio.Event()
        there.may_end.set()
        async with Engine(store, there.workflow) as engine:
            runs = [await engine.start("held-there", number, id=f"B-{number}") for number in range(RUNS)]
            return [await run.result(timeout_s=20) for run in runs]

    async with Engine(store, here.workflow) as engine:
        thread = asyncio.get_running_loop().run_in_executor(None, asyncio.run, elsewhere())
        runs = [await engine.start("held", number, id=f"A-{number}") for number in range(RUNS)]
        assert [await run.result(timeout_s=20) for run in runs] == [{"number": number} for number in range(RUNS)]
        assert await thread == [{"number": number} for number in range(RUNS)]
        found = await asyncio.to_thread(asyncio.run, found_in(store))
        assert engine.inside.problems == {}
    await store.close()
    assert len(found) == 2 * RUNS
    assert {run.run.status for run in found.values()} == {"done"}
    assert (here.bodies, there.bodies) == (RUNS, RUNS)


@ON_SQLITE
def test_a_run_that_was_being_started_as_its_loop_closed_is_durable(stage: Stage) -> None:
    """The commit waits for its turn to write while the loop that asked for it is closed; nobody hears the answer."""
    executor = CountingExecutor(2)
    store = SqliteStore(stage.file, executor=executor)
    turn = Turn(stage.file, name="the test", timeout_s=20.0)
    loop = asyncio.new_event_loop()
    door = loop.run_until_complete(Engine(store, _quick(), works=False).__aenter__())
    turn.acquire()
    submitted = executor.submitted
    start = loop.create_task(door.start("quick", 7, id="T-0"))
    loop.run_until_complete(until(lambda: executor.submitted > submitted, "a commit that waits"))
    start.get_coro().close()
    loop.close()
    turn.release()
    turn.close()

    async def finish() -> None:
        async with Engine(store, _quick()) as engine:
            run = await engine.start("quick", 7, id="T-0")  # the same id and input: the run that exists
            assert await run.result(timeout_s=20) == {"number": 7}
        await store.close()

    asyncio.run(finish())
    executor.shutdown()
    assert list(examine(stage.url)) == ["T-0"]


@ON_SQLITE
def test_a_full_file_refuses_by_name_and_loses_nothing(stage: Stage) -> None:
    """Twenty runs cannot write their results for a while; then they can, and no body has run twice."""
    stage.run("full_disk")
    (refused,), (health,) = stage.ledger.keys("refused"), stage.ledger.keys("health")
    assert "disk" in refused
    assert health == "red"
    found = examine(stage.url)
    assert {name: run.run.status for name, run in found.items()} == {f"T-{number}": "done" for number in range(RUNS)}
    assert len(stage.ledger.keys("body")) == len(set(stage.ledger.keys("body"))) == RUNS


@ON_SQLITE
async def test_a_read_only_file_shows_runs_and_takes_none(stage: Stage) -> None:
    async with Engine(stage.url, _quick()) as engine:
        await (await engine.start("quick", 7, id="T-0")).result(timeout_s=20)
    reading = f"{stage.url}?mode=ro"
    with pytest.raises(Unavailable, match="mode=ro"):
        async with Engine(reading, _quick()):
            pytest.fail("an engine works on a file that cannot be written")
    async with Engine(reading, _quick(), works=False) as door:
        run = await door.get("T-0")
        assert (run.status, run.data) == ("done", {"number": 7})
        with pytest.raises(Unavailable, match="mode=ro"):
            await door.start("quick", 8, id="T-1")
    assert list(await asyncio.to_thread(examine, stage.url)) == ["T-0"]


@ON_SQLITE
async def test_a_file_of_a_newer_schema_is_left_alone(stage: Stage) -> None:
    async with Engine(stage.url, _quick()) as engine:
        await (await engine.start("quick", 7, id="T-0")).result(timeout_s=20)
    version = _execute(stage, "PRAGMA user_version")[0][0]
    _execute(stage, "PRAGMA user_version = 999")
    with pytest.raises(Unavailable, match="newer holdfast: schema 999"):
        async with Engine(stage.url, _quick()):
            pytest.fail("an engine opened a file of a newer schema")
    _execute(stage, f"PRAGMA user_version = {version}")
    assert list(await asyncio.to_thread(examine, stage.url)) == ["T-0"]


async def test_a_run_with_a_flipped_byte_is_named_and_the_others_go_on(stage: Stage) -> None:
    """Whoever asks for it and `verify` name it; engines open, and work on with the others; `repair` brings it back
    from its journal, and then it ends as well."""
    wf = Workflow("asked", data=dict)
    wf.wait("review", start=True, on={"approve": "done"})
    wf.final("done")
    store = open_store(stage.url)
    async with Engine(store, wf) as engine:
        damaged, *others = [await engine.start("asked", number, id=f"T-{number}") for number in range(RUNS)]
        await _flip(stage, damaged.id)
        for run in others:
            assert (await run.send("approve", by="ana")).status == "done"
        with pytest.raises(Corrupt, match=damaged.id):
            await damaged.send("approve", by="ana")
        async with Engine(stage.url, wf) as other:
            with pytest.raises(Corrupt, match=damaged.id):
                await other.get(damaged.id)
        assert f"run {damaged.id}" in {problem.where for problem in (await store.verify()).problems}
        assert await store.repair()
        assert (await damaged.send("approve", by="ana")).status == "done"
        assert len(await found_in(store)) == RUNS
    await store.close()


@ON_POSTGRES
async def test_a_full_server_refuses_by_name_and_loses_nothing(stage: Stage) -> None:
    """Twenty runs cannot write their results for a while; then they can, and no body has run twice."""
    held = Held()
    server = await asyncpg.connect(stage.url)
    store = open_store(stage.url)
    async with Engine(store, held.workflow) as engine:
        runs = [await engine.start("held", number, id=f"T-{number}") for number in range(RUNS)]
        await until(lambda: held.bodies == RUNS, "all bodies at work")
        await server.execute(_FULL)
        held.may_end.set()
        with pytest.raises(Unavailable, match="the server's disk is full"):
            await engine.start("held", 0, id="T-late")
        assert health_of(engine).status.value == "red"
        await server.execute("DROP TRIGGER full_disk ON holdfast.records")
        assert [await run.result(timeout_s=LIMIT_S) for run in runs] == [{"number": number} for number in range(RUNS)]
        await until(lambda: health_of(engine).status.value == "green", "green health")
        found = await found_in(store)
    await server.close()
    await store.close()
    assert held.bodies == RUNS
    assert set(found) == {f"T-{number}" for number in range(RUNS)}


_FULL = """
    CREATE FUNCTION holdfast.full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
    END $$;
    CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON holdfast.records EXECUTE FUNCTION holdfast.full_disk()"""
"""As a server says it whose tables cannot grow: it goes on answering, and undoes the transaction."""


def _quick() -> Workflow:
    wf = Workflow("quick", data=dict)

    @wf.state("work", start=True, to="done")
    async def work(ctx: RunContext) -> None:
        ctx.data["number"] = ctx.input

    wf.final("done")
    return wf


async def _flip(stage: Stage, run_id: str) -> None:
    """One byte of a run's body, past the store."""
    table = "records" if stage.url.startswith(FILE) else "holdfast.records"
    flipped = """replace(body, '"user":"local"', '"user":"mocal"')"""
    whose = f"kind = 'run' AND id = '{run_id}' AND body <> {flipped}"
    sql = f"UPDATE {table} SET body = {flipped} WHERE {whose} RETURNING id"
    if stage.url.startswith(FILE):
        found = _execute(stage, sql)
    else:
        connection = await asyncpg.connect(stage.url.removeprefix("hybrid+").partition("?")[0])
        found = await connection.fetch(sql)
        await connection.close()
    assert len(found) == 1


def _execute(stage: Stage, sql: str, *parameters: object) -> list[Any]:
    """The file, past the store."""
    with closing(sqlite3.connect(stage.file)) as connection:
        rows = connection.execute(sql, parameters).fetchall()
        connection.commit()
        return rows
