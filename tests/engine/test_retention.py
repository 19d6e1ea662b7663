"""Retention: what nobody needs goes, page by page beside the engine's work; what anybody needs stays."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast import (
    Engine,
    InvalidInput,
    NotFound,
    Rejected,
    Retention,
    RunContext,
    RunHandle,
    Status,
    Unavailable,
    Workflow,
    health_of,
)
from holdfast.store.contract.protocol import OpenStore
from holdfast.store.contract.records import Change, Delete, Key, Put, RemovePrefix, Scope
from holdfast.store.memory import MemoryStore
from holdfast.store.open import open_store
from holdfast.testing import Fault, FaultyStore, Lab, VirtualClock, When
from holdfast.workflow.process.notices import leave_notice
from holdfast.workflow.upkeep.keeper import KEEPER
from holdfast.workflow.upkeep.removing import Remover
from holdfast.workflow.upkeep.retention import KEEP_WHOLE, Removed
from tests.engine.labs import ON_MEMORY, OpenLab

DAY_S = 86_400.0
KEEPING = Retention(keep_for="30d", every="6h")


def desk() -> Workflow:
    """Some work, then a wait, then the end; "slow" has something else to wait for."""
    workflow = Workflow("desk", data=dict)

    @workflow.state("draft", start=True, to="open")
    async def draft(ctx: RunContext) -> None:
        ctx.data["text"] = await ctx.step("write", str, ctx.input)

    workflow.wait("open", on={"approve": "publish", "again": "draft"})

    @workflow.state("publish", to={"done": "end", "broken": "end"})
    async def publish(ctx: RunContext) -> None:
        await ctx.step("publish", str, "published")

    workflow.final("end")
    return workflow


async def ended(lab: Lab, id: str) -> RunHandle:
    run = await (await lab.start("desk", id, id=id)).reach("open")
    await run.send("approve", by="ana")
    await run.result()
    return run


async def held(store: OpenStore) -> Counter[str]:
    """What a store holds: its rows by kind, deleted ones marked, and its events."""
    found: Counter[str] = Counter()
    async with store.snapshot() as view:
        async for history in view.histories():
            if history.row is not None:
                found[f"{history.key.kind}{' (deleted)' if history.row.deleted else ''}"] += 1
            found["events"] += len(history.events)
    return found


async def passed(
    store: OpenStore, before_s: float, change_ids: Callable[[], str], *, keep: int = KEEP_WHOLE
) -> Removed:
    """One pass over a store."""
    removed = Removed()
    async for page in Remover(store, before_s=before_s, change_id=change_ids).pages():
        removed = removed.plus(page)
    return removed.plus(Removed(rows=await store.trim(before_s=before_s, keep_per_record=KEEP_WHOLE)))


def numbered() -> Callable[[], str]:
    numbers = itertools.count()
    return lambda: f"pass:{next(numbers)}"


@pytest.mark.parametrize(
    "options", [{"keep_for": "0s"}, {"every": "0.5s"}, {"every": "soon"}, {"keep_rows": 0}, {"keep_for": -1}]
)
def test_retention_that_means_nothing_is_refused_when_it_is_built(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Retention(**options)


def test_engine_that_works_on_nothing_removes_nothing() -> None:
    with pytest.raises(InvalidInput, match="works=False"):
        Engine("memory:", works=False, retention=Retention())


@ON_MEMORY
async def test_ended_run_is_gone_with_all_that_was_its_own(open_lab: OpenLab) -> None:
    lab = await open_lab(desk(), retention=KEEPING)
    await lab.settle()
    before = await held(lab.store)  # type: ignore[arg-type]
    run = await ended(lab, "T")
    await lab.client.checkpoint("T", "after")
    await lab.skip("29d")
    assert (await run.refresh()).status == "done"
    await lab.skip("2d")
    for look in (run.refresh, run.history, lambda: lab.client.get("T"), lambda: lab.client.checkpoints("T")):
        with pytest.raises(NotFound):
            await look()
    assert await held(lab.store) == before  # type: ignore[arg-type]
    again = await lab.start("desk", "another input", id="T")
    assert again.id != run.id
    assert (await again.reach("open")).data == {"text": "another input"}


@ON_MEMORY
async def test_what_has_not_ended_stays_however_old_it_is(open_lab: OpenLab) -> None:
    lab = await open_lab(desk(), retention=KEEPING)
    waiting = await (await lab.start("desk", "w", id="W")).reach("open")
    await lab.client.checkpoint("W", "kept")
    await waiting.send("again", by="ana", id="once")
    await lab.settle()
    paused = await (await lab.start("desk", "p", id="P")).reach("open")
    await paused.pause(by="ana")
    await lab.skip("400d")
    assert [row.name for row in await paused.history()][-1] == "paused"
    assert (await (await lab.client.fork("W", version=1, id="F1")).reach("open")).data == {"text": "w"}
    assert (await (await lab.client.fork("W", checkpoint="kept", id="F2")).reach("open")).data == {"text": "w"}
    await (await paused.resume(by="ana")).send("approve", by="ana")
    assert await paused.result() == {"text": "p"}
    assert (await held(lab.store))["signal"] == 1, "the one just taken; the old one, judged long ago, went"  # type: ignore[arg-type]
    assert lab.engine.inside.keeper is not None
    assert lab.engine.inside.keeper.removed.signals == 1


@ON_MEMORY
async def test_journals_of_living_runs_are_cut_only_if_asked(open_lab: OpenLab) -> None:
    lab = await open_lab(desk(), retention=Retention(keep_for="30d", every="1d", keep_rows=3))
    run = await (await lab.start("desk", "w", id="W")).reach("open")
    for _ in range(30):
        await run.send("again", by="ana")
        await run.reach("open")
    assert len(await run.history()) == 62
    await lab.skip("40d")
    assert 3 <= len(await run.history()) <= 23, "the last ones, and the snapshot that rebuilding them needs"
    assert (await lab.client.state_at("W", run.version)).data == run.run.data
    with pytest.raises(NotFound, match="no version 1"):
        await lab.client.state_at("W", 1)


@ON_MEMORY
async def test_run_that_a_fork_was_made_of_stays_as_long_as_the_fork(open_lab: OpenLab) -> None:
    """A fork's data may name what belongs to the run that it was made of, and so may a fork of the fork."""
    lab = await open_lab(desk(), retention=KEEPING)
    first = await ended(lab, "A")
    second = await (await lab.client.fork("A", version=2, id="B")).reach("open")
    await second.send("approve", by="ana")
    await second.result()
    third = await (await lab.client.fork("B", version=1, id="C")).reach("open")
    await lab.skip("100d")
    assert [(await run.refresh()).status for run in (first, second, third)] == ["done", "done", "waiting"]
    await third.send("approve", by="ana")
    await third.result()
    await lab.skip("31d")
    for run in (first, second, third):
        with pytest.raises(NotFound):
            await run.refresh()
    assert not {"run", "forks", "ticket", "signal"} & set(await held(lab.store))  # type: ignore[arg-type]


@ON_MEMORY
async def test_last_of_several_forks_frees_the_run(open_lab: OpenLab) -> None:
    lab = await open_lab(desk(), retention=KEEPING)
    run = await ended(lab, "A")
    for name in ("B", "C"):
        await (await lab.client.fork("A", version=2, id=name)).reach("open")
    for name in ("B", "C"):
        fork = await lab.client.get(name)
        await fork.send("approve", by="ana")
        await lab.skip("31d")
        with pytest.raises(NotFound):
            await fork.refresh()
        if name == "B":
            assert (await run.refresh()).status == "done"
    with pytest.raises(NotFound):
        await run.refresh()


def _removes_a_run(change: Change) -> bool:
    return any(isinstance(removed, RemovePrefix) and removed.kind == "run" for removed in change.removes)


async def _opened(before_removal: Callable[[Engine], Awaitable[None]]) -> tuple[Engine, FaultyStore, RunHandle]:
    """An engine with an old run; just before its removal is committed, something happens."""
    engines: list[Engine] = []

    async def pause() -> None:
        await before_removal(engines[0])

    clock = VirtualClock()
    script = [When("commit", 1, Fault.DELAY, only=_removes_a_run)]
    store = FaultyStore(MemoryStore(clock=clock), script=script, pause=pause)
    engine = await Engine(store, desk(), clock=clock).__aenter__()
    engines.append(engine)
    run = await (await engine.start("desk", "a", id="A", user="ana")).reach("open")
    await run.send("approve", by="ana")
    await run.result()
    return engine, store, run


async def _pages(store: FaultyStore, before_s: float) -> Removed:
    removed = Removed()
    async for page in Remover(store, before_s=before_s, change_id=numbered()).pages():
        removed = removed.plus(page)
    return removed


async def test_fork_that_races_with_the_removal_of_its_run_wins() -> None:
    async def fork(engine: Engine) -> None:
        await engine.client("ana").fork("A", version=2, id="B")

    engine, store, run = await _opened(fork)
    assert await _pages(store, store.now_s() + 1) == Removed(signals=1), "its signal was judged long ago all the same"
    assert store.unseen() == []
    assert (await run.refresh()).status == "done"
    assert (await (await engine.get("B", user="ana")).reach("open")).data == {"text": "a"}
    await engine.close()


async def test_fork_of_a_run_that_was_removed_just_before_is_told_so() -> None:
    """It was read before, and its first record requires it to be there."""
    engine, store, _ = await _opened(_nothing_happens)
    race = FaultyStore(store, script=[When("commit", 1, Fault.DELAY)], pause=lambda: _gone(store))
    forking = await Engine(race, desk(), works=False).__aenter__()
    with pytest.raises(NotFound):
        await forking.client("ana").fork("A", version=2, id="B")
    assert race.unseen() == []
    with pytest.raises(NotFound):
        await engine.get("B", user="ana")
    await forking.close()
    await engine.close()


async def _nothing_happens(_: Engine) -> None:
    return None


async def _gone(store: FaultyStore) -> None:
    assert (await _pages(store, store.now_s() + 1)).runs == 1


async def test_run_that_was_started_anew_while_the_old_one_went_is_not_touched() -> None:
    """The ticket is the new run's by then; nor can a new one be lost with an id that begins like the old one's."""
    engine, store, old = await _opened(_nothing_happens)
    for longer in ("A2", "A/2", "A\t"):
        await (await engine.start("desk", longer, id=longer, user="ana")).reach("open")
    assert (await _pages(store, store.now_s() + 1)).runs == 1
    with pytest.raises(NotFound):
        await old.refresh()
    for longer in ("A2", "A/2", "A\t"):
        assert (await engine.start("desk", longer, id=longer, user="ana")).status == "waiting"
    await engine.close()


async def test_notices_for_processes_that_are_no_more_go() -> None:
    store = MemoryStore()
    async with Engine(store, desk()) as engine:
        runtime = engine.inside.runtime
        lease = Key("", "", "process", "alive")
        await store.commit(Scope.system(), Change(change_id="lease", writes=(Put(key=lease, body=b"{}", expect=0),)))
        for owner in ("alive", "gone", "gone-too"):
            for run_id in ("r1", "r2"):
                await leave_notice(runtime, owner, run_id, "look", epoch=1)
        assert (await passed(store, store.now_s(), numbered())).notices == 4
        assert (await held(store))["notice"] == 2
        await store.commit(Scope.system(), Change(change_id="end", writes=(Delete(key=lease, expect=1),)))
        assert (await passed(store, store.now_s(), numbered())).notices == 2


async def test_one_engine_of_a_store_passes_at_a_time() -> None:
    clock = VirtualClock()
    store = MemoryStore(clock=clock)
    async with (
        Lab(desk(), store=store, clock=clock, retention=KEEPING) as lab,
        Engine(store, desk(), clock=clock, retention=KEEPING) as other,
    ):
        keepers = [lab.engine.inside.keeper, other.inside.keeper]
        await lab.skip("10d")
        assert sum(keeper.passes for keeper in keepers if keeper is not None) == 41, "at once, and every 6 hours"
        record = (await store.read(Scope.system(), [KEEPER]))[0]
        assert record is not None
        assert (record.version, record.due) == (41, pytest.approx(clock.time_s() + 6 * 3600))
        calls = lab.calls["read"]
        await lab.skip("5h")
        assert lab.calls["read"] == calls, "nobody looks before it is due"
    await store.close()


class Untrimmable(MemoryStore):
    """A store that cannot trim at present."""

    is_away = True

    async def trim(self, *, before_s: float, keep_per_record: int = 1) -> int:
        if self.is_away:
            raise Unavailable("the store cannot trim")
        return await super().trim(before_s=before_s, keep_per_record=keep_per_record)


async def test_pass_that_fails_degrades_health_until_one_does_not() -> None:
    clock = VirtualClock()
    store = Untrimmable(clock=clock)
    async with Lab(desk(), store=store, clock=clock, retention=KEEPING) as lab:
        await lab.settle()
        health = health_of(lab.engine)
        assert health.status is Status.DEGRADED
        assert ("retention", "the store cannot trim") in [(check.name, check.seen) for check in health.checks]
        assert (await (await lab.start("desk", "x")).reach("open")).data == {"text": "x"}
        store.is_away = False
        await lab.skip("7h")
        assert health_of(lab.engine).status is Status.GREEN
    await store.close()


async def test_store_that_cannot_be_trimmed_is_refused() -> None:
    store = FaultyStore(MemoryStore())
    with pytest.raises(InvalidInput, match="retention needs a store"):
        await Engine(store, desk(), retention=KEEPING).__aenter__()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_store_under_load_stays_as_small_as_what_lives(kind: str, tmp_path: Path) -> None:
    """Passes run all the time beside an engine that works on many runs, and take everything that is over."""
    store = open_store("memory:" if kind == "memory" else f"sqlite:///{tmp_path / 'runs.db'}")
    change_ids = numbered()
    sizes = []
    async with Engine(store, desk()) as engine:
        living = [await (await engine.start("desk", "l", id=f"L{n}", user="ana")).reach("open") for n in range(5)]
        await engine.client("ana").checkpoint("L0", "kept")
        for cycle in range(6):
            before_s, is_over = store.now_s(), asyncio.Event()
            removing = asyncio.gather(*(_pass_until(store, is_over, before_s, change_ids) for _ in range(2)))
            await asyncio.gather(*(_one_run(engine, f"C{cycle}-{number}") for number in range(30)))
            fork = await engine.client("ana").fork("L0", checkpoint="kept", id=f"F{cycle}")
            await (await fork.reach("open")).send("approve", by="ana")
            await fork.result(timeout_s=60)
            is_over.set()
            await removing
            sizes.append(await held(store))
            assert (await store.verify()).is_clean
        assert (await passed(store, store.now_s() + 1, change_ids)).runs == 31
        left = await held(store)
        assert (left["run"], left["ticket"], left["checkpoint"], left["signal"], left["memo"]) == (5, 5, 1, 0, 0)
        assert left["events"] == sum([len(await run.history()) for run in living])
        assert max(size["events"] for size in sizes) == sizes[-1]["events"], "what grew went again"
        assert {size["run"] for size in sizes} == {36}
        for run in living:
            await (await run.refresh()).send("approve", by="ana")
            assert await run.result(timeout_s=60) == {"text": "l"}
            assert [event.version for event in await run.history()] == [1, 2, 3, 4]
    assert (await store.verify()).is_clean
    await store.close()


async def _pass_until(store: OpenStore, is_over: asyncio.Event, before_s: float, change_ids: Callable[[], str]) -> None:
    while True:
        is_last = is_over.is_set()
        await passed(store, before_s, change_ids)
        if is_last:
            return
        await asyncio.sleep(0)  # calls to a store in memory do not suspend


async def _one_run(engine: Engine, id: str) -> None:
    run = await (await engine.start("desk", id, id=id, user="ana")).reach("open", timeout_s=60)
    await run.send("again", by="ana")
    await run.reach("open", timeout_s=60)
    await run.send("approve", by="ana")
    assert await run.result(timeout_s=60) == {"text": id}


async def test_an_ended_run_that_is_not_old_is_not_touched_by_a_racing_pass(open_lab: OpenLab) -> None:
    lab = await open_lab(desk())
    run = await ended(lab, "T")
    record = (await lab.store.read(Scope.system(), [run.run.key]))[0]
    assert record is not None
    assert record.due is not None
    assert (await passed(lab.store, record.due - 1, numbered())).runs == 0  # type: ignore[arg-type]
    with pytest.raises(Rejected):
        await lab.client.fork("T")
