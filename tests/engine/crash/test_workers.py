"""Worker processes: killed in each phase, drained, restarted one after the other; and what is fair among users."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter

import pytest

from holdfast import Engine, Workflow
from holdfast.store.contract.records import Query, Scope
from holdfast.store.open import open_store
from holdfast.workflow.model.run import RUN
from tests.engine.crash.findings import examine, runs_now
from tests.engine.crash.processes import ON_POSTGRES, Process, Stage

pytestmark = ON_POSTGRES
RUNS = 200
ACTS = ("a", "b", "c")


def door(stage: Stage) -> Engine:
    """An engine that starts runs and works on none."""
    wf = Workflow("jobs", data=dict)

    async def nothing(ctx: object) -> None:
        raise AssertionError("a door works on nothing")

    wf.add_state("first", nothing, start=True, to="second")
    wf.add_state("second", nothing, to="done")
    wf.final("done")
    return Engine(stage.url, wf, works=False)


def start(stage: Stage, count: int, *, user: str = "ana", at_once: int = 50) -> None:
    """Put runs in line: <user>-0, <user>-1, ..."""

    async def put() -> None:
        async with door(stage) as engine:
            for begin in range(0, count, at_once):
                numbers = range(begin, min(count, begin + at_once))
                await asyncio.gather(*(engine.start("jobs", None, id=f"{user}-{n}", user=user) for n in numbers))

    asyncio.run(put())


def worker(stage: Stage, *options: str, fault: str = "", holds: tuple[str, ...] = ()) -> Process:
    return stage.start("worker", fault=fault, holds=holds, engine={"options": options})


def ended(stage: Stage) -> int:
    return sum(run.status == "done" for run in runs_now(stage.url).values())


def is_ended(stage: Stage, count: int) -> bool:
    return ended(stage) == count


def drain(process: Process) -> None:
    os.kill(process.pid, signal.SIGTERM)


@pytest.mark.parametrize(
    ("fault", "repeated"),
    [
        ("claim:1:kill", set()),
        ("step:2:kill", set()),
        ("memo:1:kill", set()),
        ("before-transition:1:kill", {"b"}),
        ("transition:1:kill", set()),
    ],
)
def test_a_worker_killed_in_a_phase_loses_nothing(stage: Stage, fault: str, repeated: set[str]) -> None:
    """Its peer goes on at once; what was durable is not done again, and what may be has the same key."""
    start(stage, 1)
    dead = worker(stage, fault=fault)
    dead.until_killed()
    peer = worker(stage)
    peer.until(lambda: is_ended(stage, 1), "the end of the run")
    drain(peer)
    assert peer.until_ended() == 0
    for act in ACTS:
        keys = stage.ledger.keys(act)
        assert len(set(keys)) == 1
        assert len(keys) == 1 or act in repeated
    assert examine(stage.url)["ana-0"].run.status == "done"


def test_a_worker_killed_while_it_drains_loses_nothing(stage: Stage) -> None:
    start(stage, 2)
    dying = worker(stage, "--concurrency", "1", holds=("b",))
    dying.until_line("b")
    drain(dying)
    dying.until(lambda: len(owned(stage)) == 1, "one run left with it")
    dying.kill()
    stage.ledger.add("go", "b")
    peer = worker(stage)
    peer.until(lambda: is_ended(stage, 2), "the end of both runs")
    counts = Counter(line.what for line in stage.ledger.lines() if line.what in ACTS)
    assert counts == {"a": 2, "b": 3, "c": 2}
    assert len(set(stage.ledger.keys("b"))) == 2


def test_what_outlasts_the_grace_is_given_back_and_taken_up_at_once(stage: Stage) -> None:
    """Exit 0, nobody owns the run, no death is counted; the peer, which has a full line besides, begins with it."""
    start(stage, 1)
    draining = worker(stage, "--grace", "0.2s", holds=("b",))
    draining.until_line("b")
    start(stage, 5, user="bob")
    draining.until_line("b", count=6)
    start(stage, 3, user="cy")
    drain(draining)
    assert draining.until_ended() == 0
    assert "drained; runs whose handlers outlasted the grace period:" in draining.said
    assert owned(stage) == []
    stage.ledger.add("go", "b")
    before = len(stage.ledger.lines("begun"))
    peer = worker(stage, "--concurrency", "1")
    peer.until(lambda: is_ended(stage, 9), "the end of all runs")
    users = [line.key for line in stage.ledger.lines("begun")[before:]]
    assert set(users[:6]) <= {"ana", "bob"}, "who has begun goes before who has not"
    found = examine(stage.url)
    assert sum(run.count("recovered") for run in found.values()) == 0
    assert Counter(stage.ledger.keys("a")).most_common(1)[0][1] == 1, "what was durable is not done again"


def test_a_second_sigterm_ends_a_worker_at_once(stage: Stage) -> None:
    start(stage, 1)
    stubborn = worker(stage, "--grace", "1h", holds=("b",))
    stubborn.until_line("b")
    drain(stubborn)
    stubborn.until(lambda: is_draining(stage), "a heartbeat that says so")
    drain(stubborn)
    assert stubborn.until_ended() == -signal.SIGTERM


def test_all_workers_are_restarted_one_after_the_other_under_load(stage: Stage) -> None:
    """200 runs under way, all of them in a handler: none is left behind, no step is done twice, no death is counted."""
    start(stage, RUNS)
    half = ("--concurrency", str(RUNS // 2))
    first, second = (worker(stage, *half, holds=("b", "c")) for _ in range(2))
    for old in (first, second):
        old.until_line("b", count=RUNS // 2)
    drain(first)
    stage.ledger.add("go", "b")
    assert first.until_ended() == 0
    third = worker(stage, *half, holds=("c",))
    for old in (second, third):
        old.until_line("c", count=RUNS // 2)
    drain(second)
    stage.ledger.add("go", "c")
    assert second.until_ended() == 0
    third.until(lambda: is_ended(stage, RUNS), "the end of all runs")
    drain(third)
    assert third.until_ended() == 0
    for act in ACTS:
        assert Counter(Counter(stage.ledger.keys(act)).values()) == {1: RUNS}
    found = examine(stage.url)
    assert Counter(run.run.status for run in found.values()) == {"done": RUNS}
    assert sum(run.count("recovered") for run in found.values()) == 0


def test_four_hundred_of_one_user_delay_ten_of_another_by_his_share(stage: Stage) -> None:
    """The ten come while the four hundred are being served: before the last of them is begun, at most ten others are,
    and those that were being begun just then."""
    concurrency = 4
    start(stage, 400)
    busy = worker(stage, "--concurrency", str(concurrency))
    busy.until_line("begun", count=20)
    start(stage, 10, user="bob")
    seen = len(stage.ledger.lines("begun"))
    busy.until(lambda: stage.ledger.keys("begun").count("bob") == 10, "the tenth of the other user")
    order = stage.ledger.keys("begun")
    last = max(place for place, user in enumerate(order) if user == "bob")
    others = sum(user == "ana" for user in order[seen : last + 1])
    assert others <= 10 + 2 * concurrency
    assert len(order) < 400, "all were served before anybody had to wait"


def owned(stage: Stage) -> list[str]:
    """The runs that some process has."""

    async def look() -> list[str]:
        store = open_store(stage.url)
        try:
            page = await store.scan(Scope.system(), Query(kind=RUN), limit=1000)
            return [record.key.id for record in page.records if record.owner]
        finally:
            await store.close()

    return asyncio.run(look())


def is_draining(stage: Stage) -> bool:
    """Whether the one process that is there says so."""

    async def look() -> bool:
        store = open_store(stage.url)
        try:
            page = await store.scan(Scope.system(), Query(kind="process"), limit=10)
            return [b'"is_draining":true' in record.body for record in page.records] == [True]
        finally:
            await store.close()

    return asyncio.run(look())


async def test_who_started_a_run_hears_its_result_from_a_worker(stage: Stage) -> None:
    process = worker(stage)
    async with door(stage) as engine:
        run = await engine.start("jobs", None, id="ana-0", user="ana")
        assert await run.result(timeout_s=30) == {}
    drain(process)
    assert await asyncio.to_thread(process.until_ended) == 0
