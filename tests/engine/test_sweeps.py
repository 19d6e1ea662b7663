"""Recovery goes on: whatever fails in it is told, tried again, and forgets nothing that it was asked to look for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from holdfast import Engine, Retry, RunContext, Status, Unavailable, Workflow, health_of
from holdfast.store.contract.records import (
    ABSENT,
    SYSTEM_TENANT,
    Change,
    Claim,
    Commit,
    Delete,
    Key,
    Page,
    Put,
    Query,
    Record,
    Scope,
)
from holdfast.store.memory import MemoryStore
from holdfast.store.sqlite.store import SqliteStore
from holdfast.testing import Lab, VirtualClock
from holdfast.workflow.decisions.signals import signal_put
from holdfast.workflow.model.run import PROCESS, RUN, SIGNAL, Run, Signal, decode_run, encode_run
from holdfast.workflow.process.notices import leave_notice, take_notices
from tests.engine.labs import ON_MEMORY, OpenLab


class OddStore(SqliteStore):
    """`trouble` is what calls meet until it is taken away: by "wait", "claim", or the kind scanned or written, or the
    id that is looked for."""

    trouble: dict[str, Exception]

    async def wait(self, since: int) -> int:
        self._meet("wait")
        return await super().wait(since)

    async def claim(self, scope: Scope, claim: Claim) -> list[Record]:
        self._meet("claim")
        return await super().claim(scope, claim)

    async def scan(self, scope: Scope, query: Query, *, after: str | None = None, limit: int = 100) -> Page:
        self._meet(query.kind)
        self._meet(query.prefix)
        return await super().scan(scope, query, after=after, limit=limit)

    async def commit(self, scope: Scope, change: Change) -> Commit:
        for write in change.writes[:1]:
            self._meet(write.key.kind)
        return await super().commit(scope, change)

    def _meet(self, what: str) -> None:
        if what in self.trouble:
            raise self.trouble[what]


@pytest.fixture
async def odd_store(tmp_path: Path) -> AsyncIterator[OddStore]:
    store = OddStore(tmp_path / "runs.db", clock=VirtualClock())
    store.trouble = {}
    yield store
    await store.close()


def lab_on(store: OddStore, *workflows: Workflow) -> Lab:
    clock = store._clock
    assert isinstance(clock, VirtualClock)
    return Lab(*workflows, clock=clock, store=store)


def timed() -> Workflow:
    workflow = Workflow("timed")
    workflow.wait("rest", start=True, after={"10s": "end"})
    workflow.final("end")
    return workflow


def is_at_work(lab: Lab, name: str) -> bool:
    return f"holdfast:{name}" in lab.engine.inside.runtime.tasks.names()


TROUBLES = pytest.mark.parametrize("trouble", [Unavailable("away"), RuntimeError("odd")], ids=["away", "odd"])


@TROUBLES
async def test_a_look_at_other_processes_that_fails_is_told_and_tried_again(
    odd_store: OddStore, trouble: Exception
) -> None:
    async with lab_on(odd_store, timed()) as lab:
        odd_store.trouble["wait"] = trouble
        await lab.skip("5s")
        assert is_at_work(lab, "listen")
        assert lab.engine.inside.recovery.last_problem == str(trouble)
        assert health_of(lab.engine).status is not Status.GREEN
        odd_store.trouble.clear()
        await lab.skip("5s")
        assert is_at_work(lab, "listen")
        assert lab.engine.inside.recovery.last_problem is None


@TROUBLES
async def test_a_sweep_that_fails_is_told_and_tried_again(odd_store: OddStore, trouble: Exception) -> None:
    async with lab_on(odd_store, timed()) as lab:
        run = await lab.start("timed")
        odd_store.trouble["claim"] = trouble
        await lab.skip("20s")
        assert is_at_work(lab, "recovery")
        assert lab.engine.inside.recovery.last_problem == str(trouble)
        odd_store.trouble.clear()
        await lab.skip("5s")
        assert (await run.refresh()).status == "done"
        assert lab.engine.inside.recovery.last_problem is None


@TROUBLES
async def test_a_heartbeat_that_fails_is_tried_again(odd_store: OddStore, trouble: Exception) -> None:
    async with lab_on(odd_store, timed()) as lab:
        odd_store.trouble[PROCESS] = trouble
        await lab.skip("10s")
        odd_store.trouble.clear()
        await lab.skip("10s")
        assert is_at_work(lab, "heartbeat")
        assert lab.engine.inside.ownership.lease_left_s() > 0


async def test_a_signal_of_a_run_let_go_while_the_store_was_away_is_judged(odd_store: OddStore) -> None:
    workflow = Workflow("chain")
    workflow.wait("first", start=True, on={"go": "work"})

    @workflow.state("work", to="second")
    async def work(ctx: RunContext) -> None:
        await gate.wait()

    workflow.wait("second", on={"ok": "end"})
    workflow.final("end")
    async with lab_on(odd_store, workflow) as lab:
        gate = lab.gate()
        run = await lab.start("chain", id="T")
        await lab.settle()
        await lab.client.send("T", "go", by="ana", state="first", visit=1)
        await lab.settle()
        assert await lab.client.send("T", "ok", by="ana", state="second", visit=1) == "", "kept: it came early"
        odd_store.trouble[SIGNAL] = Unavailable("away")
        gate.open()
        await lab.skip("5s")
        odd_store.trouble.clear()
        await lab.skip("5s")
        assert (await run.refresh()).status == "done"


# -- notices ----------------------------------------------------------------------------------------------------


async def test_a_notice_that_comes_while_others_are_taken_is_not_lost() -> None:
    class Crowded(MemoryStore):
        another = False

        async def commit(self, scope: Scope, change: Change) -> Commit:
            if self.another:
                self.another = False
                await leave_notice(runtime, runtime.process_id, "run2", "look", epoch=1)
            return await super().commit(scope, change)

    clock = VirtualClock()
    store = Crowded(clock=clock)
    async with Lab(timed(), clock=clock, store=store) as lab:
        runtime = lab.engine.inside.runtime
        await leave_notice(runtime, runtime.process_id, "run1", "look", epoch=1)
        store.another = True
        assert [notice.run_id for notice in await take_notices(runtime)] == ["run1"]
        assert [notice.run_id for notice in await take_notices(runtime)] == ["run2"]
        assert await take_notices(runtime) == []


def asked() -> Workflow:
    workflow = Workflow("asked")
    workflow.wait("open", start=True, on={"ok": "end"})
    workflow.final("end")
    return workflow


async def leave_signal(store: OddStore, run: Run) -> None:
    """As a sender that could not judge it; nobody is told of it."""
    signal = signal_put(run, Signal(id="ok", name="ok", by="ana"), "new", expect=ABSENT, now=store.now_s())
    await store.commit(Scope.system(), Change(change_id="sent", writes=(signal,)))


@TROUBLES
async def test_a_notice_that_was_taken_and_could_not_be_followed_is_made_up_for(
    odd_store: OddStore, trouble: Exception
) -> None:
    """The notice is gone by then, so that a later look-out cannot find it again."""
    async with lab_on(odd_store, asked()) as lab:
        run = await lab.start("asked")
        await lab.skip("2s")
        odd_store.trouble[run.id] = trouble
        await leave_signal(odd_store, run.run)
        runtime = lab.engine.inside.runtime
        await leave_notice(runtime, runtime.process_id, run.id, "look", epoch=0)
        await lab.skip("1s")
        assert lab.engine.inside.recovery.last_problem == str(trouble)
        assert await take_notices(runtime) == []
        odd_store.trouble.clear()
        await lab.skip("3s")
        assert (await run.refresh()).status == "done"


async def test_who_was_forgotten_looks_for_what_was_left_for_him(odd_store: OddStore) -> None:
    """Who takes a process for dead removes its lease and its notices; it may have stood still only."""
    async with lab_on(odd_store, asked()) as lab:
        run = await lab.start("asked")
        await lab.skip("2s")
        await leave_signal(odd_store, run.run)
        lease = Delete(key=Key(SYSTEM_TENANT, "", PROCESS, lab.engine.inside.runtime.process_id), expect=None)
        await odd_store.commit(Scope.system(), Change(change_id="forgotten", writes=(lease,)))
        await lab.skip("4s")
        assert (await run.refresh()).status == "done"


# -- places -----------------------------------------------------------------------------------------------------


@ON_MEMORY
async def test_an_overdue_run_waits_for_a_place_in_peace(open_lab: OpenLab) -> None:
    busy = Workflow("busy")

    @busy.state("work", start=True, to="end")
    async def work(ctx: RunContext) -> None:
        await gate.wait()

    busy.final("end")
    lab = await open_lab(timed(), busy, runs_max=1)
    gate = lab.gate()
    late = await lab.start("timed")
    await lab.settle()
    await lab.start("busy")
    await lab.settle()
    before = lab.engine.inside.recovery.sweeps
    await lab.skip("60s")
    assert lab.engine.inside.recovery.sweeps - before <= 2
    assert (await late.refresh()).status == "waiting"
    gate.open()
    await lab.settle()
    assert (await late.refresh()).status == "done"


async def test_a_door_takes_up_no_suspect() -> None:
    clock = VirtualClock()
    store = MemoryStore(clock=clock)
    async with Lab(timed(), clock=clock, store=store) as lab:
        run = await lab.start("timed")
        await lab.settle()
    await overwrite(store, run.run.key, suspect)
    async with Engine(store, timed(), clock=clock, works=False) as door:
        assert await door.recover_active_workflows() == []
    (record,) = await store.read(Scope.system(), [run.run.key])
    assert record is not None
    assert (record.owner, record.status) == ("", "suspect")
    await store.close()


async def test_a_suspect_has_a_due_time_as_any_other_run() -> None:
    async with Lab(timed()) as lab:
        run = await lab.start("timed")
        await lab.settle()
        due = (await run.refresh()).run.due
        assert due is not None
        assert suspect(run.run).due == due


# -- what cannot be read ----------------------------------------------------------------------------------------


async def test_what_cannot_be_read_keeps_nobody_else_from_being_recovered(odd_store: OddStore) -> None:
    async with lab_on(odd_store, timed()) as lab:
        spoilt = await lab.start("timed")
        sound = await lab.start("timed")
        await lab.settle()
    lease = Put(key=Key(SYSTEM_TENANT, "", PROCESS, "odd"), body=b"[]", expect=ABSENT, status="alive")
    await odd_store.commit(Scope.system(), Change(change_id="odd lease", writes=(lease,)))
    key = Key(spoilt.run.tenant, spoilt.run.user, SIGNAL, f"{spoilt.id}/odd")
    signal = Put(key=key, body=b"[]", expect=ABSENT, status="new", queue=spoilt.run.queue)
    await odd_store.commit(Scope.system(), Change(change_id="odd signal", writes=(signal,)))
    await overwrite(odd_store, spoilt.run.key, None)
    async with lab_on(odd_store, timed()) as lab:
        await lab.skip("20s")
        assert (await (await lab.client.get(sound.id)).refresh()).status == "done"


async def test_a_signal_of_a_damaged_run_is_judged_once_the_run_is_repaired(odd_store: OddStore) -> None:
    """Nothing but the sweep asks for it: its sender is gone, and nobody sends a second one."""
    async with lab_on(odd_store, asked()) as lab:
        run = (await lab.start("asked", id="T")).run
        await lab.settle()
    (before,) = await odd_store.read(Scope.system(), [run.key])
    assert before is not None
    await leave_signal(odd_store, run)
    await overwrite(odd_store, run.key, None)
    async with lab_on(odd_store, asked()) as lab:
        await lab.skip("5s")
        assert len((await odd_store.scan(Scope.system(), Query(kind=SIGNAL, statuses=("new",)))).records) == 1
        whole = Put(
            key=run.key, body=before.body, expect=None, status=before.status, queue=before.queue, labels=before.labels
        )  # fmt: skip
        await odd_store.commit(Scope.system(), Change(change_id="repaired", writes=(whole,)))
        await lab.skip("3s")
        assert (await lab.client.get("T")).status == "done"


def suspect(run: Run) -> Run:
    """The run as a suspect of killing its owners."""
    return replace(run, status="suspect")


async def overwrite(store: MemoryStore | OddStore, key: Key, change: object) -> None:
    """Let the record of a run say what `change` makes of it, or, with None, nothing that can be read."""
    (record,) = await store.read(Scope.system(), [key])
    assert record is not None
    run = decode_run(record.body)
    after = suspect(run) if change is suspect else run
    put = Put(
        key=key,
        body=encode_run(after) if change is not None else b"[]",
        expect=record.version,
        status=after.status,
        due=record.due,
        queue=record.queue,
        labels={**record.labels, "chart": "another"},
        owner="",
    )
    await store.commit(Scope.system(), Change(change_id=f"overwrite {key.id}", writes=(put,)))
    assert key.kind == RUN


async def test_runs_that_are_tried_again_and_again_do_not_starve_the_line() -> None:
    """One place, and always somebody whose back-off is over: who stands in line gets his turn all the same, though
    there may be a place at every second sweep alone."""
    workflow = Workflow("busy", data=dict, retry=Retry(attempts_max=1000, first_s=0.5, cap_s=0.5, jitter=0))
    lab = Lab(workflow, runs_max=1)
    begun: list[str] = []

    @workflow.state("work", start=True, to="end")
    async def work(ctx: RunContext) -> None:
        begun.append(ctx.ticket_id)
        await lab.clock.sleep(1.0)
        raise ConnectionError("not yet")

    workflow.final("end")
    async with lab:
        for number in range(4):
            await lab.start("busy", id=f"old-{number}")
            await lab.skip(1.5)
        for _ in range(2):  # whichever way the count of sweeps goes
            lab.engine.inside.recovery.sweeps += 1
            await lab.start("busy", id=f"new-{len(begun)}")
            before = len(begun)
            await lab.skip(12)
            assert any(ticket.startswith("new") for ticket in begun[before:]), begun[before:]
            begun.clear()


async def test_a_suspect_that_holds_a_lock_comes_before_the_line_that_waits_for_it() -> None:
    """All who stand in line step aside for it, one after the other, and must not take the place from it each time."""
    workflow = Workflow("locked", data=dict, retry=Retry(attempts_max=9, first_s=5.0, cap_s=5.0, jitter=0))
    failing = {"away"}

    @workflow.state("work", start=True, to="end", lock=lambda data: ("resource", "desk"))
    async def work(ctx: RunContext) -> None:
        if failing:
            failing.pop()
            raise ConnectionError("not yet")

    workflow.final("end")
    clock = VirtualClock()
    store = MemoryStore(clock=clock)
    async with Lab(workflow, clock=clock, store=store) as lab:
        first = await lab.start("locked")
        await lab.settle()
    await overwrite(store, first.run.key, suspect)
    clock.advance_to(clock.time_s() + 6)
    async with Engine(store, workflow, clock=clock, works=False) as door:
        ids = [(await door.client("ana").start("locked")).id for _ in range(4)]
    async with Lab(workflow, clock=clock, store=store, runs_max=1) as lab:
        await lab.skip(30)
        statuses = {record.status for record in (await store.scan(Scope.system(), Query(kind=RUN))).records}
        assert (len(ids), statuses) == (4, {"done"})
    await store.close()
