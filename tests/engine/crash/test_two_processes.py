"""Several processes on one file: nobody works twice, and whoever lost a run cannot write to it any more."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from holdfast import Engine, RunContext, Unavailable, Workflow
from holdfast.errors import Fenced
from holdfast.store.contract.records import Claim, Query, Scope
from holdfast.store.open import open_store
from holdfast.store.sqlite.store import SqliteStore
from holdfast.workflow.model.run import PROCESS, RUN
from holdfast.workflow.process.ownership import HEARTBEAT_S, LEASE_TTL_S
from tests.engine.crash.findings import examine, found_in, memo_names, reading, stop_outside_a_commit
from tests.engine.crash.processes import ON_SQLITE, Stage, until

RUNS = 20
QUICK = {"lease_ttl_s": 1.5, "heartbeat_s": 0.3}


def test_a_second_healthy_process_starts_no_step_that_is_running(stage: Stage) -> None:
    """Default configuration; the step runs for longer than a lease lasts, while the second process sweeps."""
    first = stage.start("line", starts=1, awaits=1, holds=("a",))
    first.until_line("a")
    second = stage.start("line", awaits=1, sweeps=5)
    second.until_line("swept")
    beats = int(LEASE_TTL_S / HEARTBEAT_S) + 1
    first.until(lambda: min(_lease_versions(stage)) > beats, f"{beats} heartbeats of both")
    first.let_go()
    first.finish()
    second.finish()
    found = examine(stage.url)["T-0"]
    assert found.run.status == "done"
    assert [line.what for line in stage.ledger.lines(pid=second.pid) if line.key] == []
    assert _bodies(stage) == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert found.count("recovered") == 0


def test_of_two_recoverers_at_once_one_runs_each_run(stage: Stage) -> None:
    """Twenty runs of a dead process, two new processes that open at one word and are asked for recovery repeatedly."""
    dead = stage.start("line", starts=RUNS, holds=("b",), stays=True)
    dead.until_line("b", count=RUNS)
    dead.kill()
    rivals = [stage.start("line", awaits=RUNS, sweeps=3, waits=True) for _ in range(2)]
    for rival in rivals:
        rival.until_line("ready")
    for rival in rivals:
        rival.let_go()
    for rival in rivals:
        rival.finish()
    found = examine(stage.url)
    assert [(run.run.status, run.count("recovered")) for run in found.values()] == [("done", 1)] * RUNS
    assert _bodies(stage) == {"a": RUNS, "b": 2 * RUNS, "c": RUNS, "d": RUNS}


def test_a_peer_takes_the_runs_of_an_owner_that_stands_still_and_fences_it(stage: Stage) -> None:
    """SIGSTOP outside a commit, past the lease; SIGCONT after the peer has finished the run: the body that was held
    up returns, and neither its memo nor anything after it is written."""
    owner = stage.start("line", starts=1, awaits=1, holds=("b",), engine=QUICK)
    owner.until_line("b")
    stop_outside_a_commit(owner, stage.url)
    stage.run("line", awaits=1, engine=QUICK)
    before = examine(stage.url)["T-0"]
    assert before.run.status == "done"
    assert len(_lease_versions(stage)) == 1, (
        "who merely stands still stays on record: it may take up runs when it wakes"
    )
    owner.let_go()
    owner.go_on()
    owner.finish()
    after = examine(stage.url)["T-0"]
    assert after.rows == before.rows
    assert memo_names(stage.url) == []
    assert _bodies(stage) == {"a": 1, "b": 2, "c": 1, "d": 1}
    assert [line.what for line in stage.ledger.lines(pid=owner.pid) if line.key] == ["a", "b"]
    writers = [row.change_id.partition(":")[0] for row in after.rows]
    assert len(dict.fromkeys(writers)) == 2
    assert writers == sorted(writers), "the first owner wrote after it had lost the run"


async def test_the_writes_of_an_owner_that_lost_its_run_are_refused(stage: Stage) -> None:
    """Without any word that it was lost: the memo is refused by the epoch, the handler hears it as Fenced."""
    heard: list[str] = []
    at_work, may_end = asyncio.Event(), asyncio.Event()
    wf = Workflow("fenced", data=dict)

    async def body() -> None:
        at_work.set()
        await may_end.wait()

    @wf.state("work", start=True, to="done")
    async def work(ctx: RunContext) -> None:
        await ctx.step("body", body)
        try:
            await ctx.step("next", body)
        except Fenced as error:
            heard.append(error.message)
            raise

    wf.final("done")
    store = open_store(stage.url)
    async with Engine(store, wf) as engine:
        run = await engine.start("fenced", id="T-0")
        await at_work.wait()
        me = engine.inside.ownership.process_id
        claim = Claim(kind=RUN, owner="another", from_owners=(me,), ids=(run.id,), limit=1)
        assert len(await store.claim(Scope.system(), claim)) == 1
        may_end.set()
        await until(lambda: len(engine.inside.crew) == 0, "the end of the actor")
        assert len(heard) == 1
        assert "epoch" in heard[0]
        found = (await found_in(store))["T-0"]
        assert (found.owner, found.epoch, len(found.rows)) == ("another", 2, 1)
        assert not (await store.scan(Scope.system(), Query(kind="memo"))).records
        assert engine.inside.problems == {}
    await store.close()


@ON_SQLITE
async def test_an_owner_stopped_inside_a_commit_is_named_to_its_peers(stage: Stage) -> None:
    """It holds the turn to write: a peer that is open and one that opens fail in time, say whom they waited for, read
    all the same, and go on once it goes on."""
    wf = Workflow("peer", data=dict)

    @wf.state("work", start=True, to="done")
    async def work(ctx: RunContext) -> None:
        ctx.data["seen"] = ctx.input

    wf.final("done")
    store, other = (SqliteStore(stage.file, turn_timeout_s=2.0) for _ in range(2))
    async with Engine(store, wf) as engine:
        owner = stage.start("line", starts=1, awaits=1, fault="store-before-commit:6:stop")
        await asyncio.to_thread(owner.until_stopped)
        named = f"held by process {owner.pid}"
        with pytest.raises(Unavailable, match=named):
            await engine.start("peer", 1, id="P-1")
        with pytest.raises(Unavailable, match=named):
            async with Engine(other, wf):
                pytest.fail("an engine opened although nothing can be written")
        assert len((await store.scan(Scope.system(), Query(kind=PROCESS))).records) == 2
        owner.go_on()
        run = await engine.start("peer", 1, id="P-1")
        assert await run.result(timeout_s=10) == {"seen": 1}
        await asyncio.to_thread(owner.finish)
        found = await found_in(store)
    await store.close()
    await other.close()
    assert {name: run.run.status for name, run in found.items()} == {"T-0": "done", "P-1": "done"}


async def test_who_waits_for_a_run_hears_how_a_door_without_a_lease_ended_it(stage: Stage) -> None:
    """As a command line does: it works on no run, judges the signal at once, and is gone."""
    wf = Workflow("verdict", data=dict)
    wf.wait("review", start=True, on={"approve": "done"})
    wf.final("done")
    store, other = open_store(stage.url), open_store(stage.url)
    async with Engine(store, wf) as engine:
        run = await engine.start("verdict", id="T-0")
        async with asyncio.TaskGroup() as group:
            result = group.create_task(run.result(timeout_s=20))
            async with Engine(other, wf, works=False) as door:
                await (await door.get("T-0")).send("approve", by="ana")
        assert result.result() == {}
        assert run.status == "done"
    await store.close()
    await other.close()


def _bodies(stage: Stage) -> Counter[str]:
    return Counter(line.what for line in stage.ledger.lines() if line.key)


def _lease_versions(stage: Stage) -> list[int]:
    async def look() -> list[int]:
        store = open_store(reading(stage.url))
        try:
            page = await store.scan(Scope.system(), Query(kind=PROCESS))
            return [record.version for record in page.records]
        finally:
            await store.close()

    return asyncio.run(look())
