"""Many runs in one commit: a kill in its middle loses nothing that was acknowledged, a lost answer doubles nothing."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest

from holdfast import Engine, codec
from holdfast.store.memory import MemoryStore
from holdfast.store.open import open_store
from holdfast.testing.faulty_store import Fault, FaultyStore, When
from tests.engine.crash.findings import Found, examine, found_in
from tests.engine.crash.pairs import MOVES, two_states
from tests.engine.crash.processes import Stage

RUNS = 64
CHAIN = [("", "one"), ("one", "two"), ("two", "three"), ("three", "done")]
COMMITS_OF_ONE_RUN = 4
"""Those of a run of `two_states`: its start, the memo of a, and two transitions with the memos of b and c."""


@pytest.mark.parametrize(
    "fault",
    [
        "store-before-commit:70:kill",
        "store-before-commit:75:kill",
        "store-after-commit:70:kill",
        "store-after-commit:77:kill",
        "transition:100:kill",
    ],
)
def test_a_kill_in_a_group_commit_loses_nothing_acknowledged(stage: Stage, fault: str) -> None:
    """64 busy runs. Whatever state the world was told of, the journal knows; state row and last journal row agree in
    each run (`examine`); and after a restart all runs end, through each state once."""
    stage.start("crowd", starts=RUNS, awaits=RUNS, fault=fault).until_killed()
    found = examine(stage.url)
    told = {tuple(key.split()) for key in stage.ledger.keys("entered")}
    assert len(told) > RUNS / 4, "killed before the runs were busy: nothing was shown"
    missing = {(ticket, state) for ticket, state in told if state not in _targets(found[ticket])}
    assert missing == set()
    stage.run("crowd", starts=RUNS, awaits=RUNS)
    found = examine(stage.url)
    assert len(found) == RUNS
    assert all(run.transitions == CHAIN for run in found.values())
    assert all(codec.decode(run.run.data) == {"one": 3, "two": 3, "three": 5} for run in found.values())


@pytest.mark.parametrize("fault", [Fault.LOSE_AFTER, Fault.LOSE_BEFORE])
async def test_a_commit_whose_answer_is_lost_happens_once(fault: Fault) -> None:
    """Each commit of a run in turn loses its answer, having happened or not: no body runs twice, no journal row is
    double, and nobody sees a conflict."""
    for nth in itertools.count(1):
        store = FaultyStore(MemoryStore(), script=[When("commit", nth, fault)])
        bodies = await _one_run(store)
        if store.unseen():
            assert nth > COMMITS_OF_ONE_RUN
            return
        assert bodies == {"a": 1, "b": 1, "c": 1}, f"commit {nth}"


async def test_a_claim_whose_answer_is_lost_leaves_no_run_behind(stage: Stage) -> None:
    """Runs that were claimed without our hearing of it are found again among our own."""
    wf, bodies = two_states()
    store = open_store(stage.url)
    async with Engine(store, wf, works=False) as door:
        for number in range(10):
            await door.start("pair", number, id=f"T-{number}")
    faulty = FaultyStore(store, script=[When("claim", 1, Fault.LOSE_AFTER)])
    async with Engine(faulty, wf) as engine:
        for number in range(10):
            await (await engine.get(f"T-{number}")).result(timeout_s=20)
        assert engine.inside.problems == {}
    assert faulty.unseen() == []
    assert bodies == {"a": 10, "b": 10, "c": 10}
    await store.close()


@pytest.mark.parametrize("seed", range(3))
async def test_runs_end_well_on_a_store_that_often_loses_answers(stage: Stage, seed: int) -> None:
    """Nearly one answer in five is lost: every body runs once, every chain is whole."""
    wf, bodies = two_states()
    store = open_store(stage.url)
    rates = {Fault.LOSE_AFTER: 0.15, Fault.LOSE_BEFORE: 0.03}
    faulty = FaultyStore(store, rates=rates, chance=random.Random(seed))
    async with Engine(store, wf, works=False) as door:
        for number in range(20):
            await door.start("pair", number, id=f"T-{number}")
    async with Engine(faulty, wf) as engine:
        for number in range(20):
            await (await engine.get(f"T-{number}")).result(timeout_s=20)
    assert all(faulty.seen[fault] for fault in rates), faulty
    found = await found_in(store)
    await store.close()
    assert bodies == {"a": 20, "b": 20, "c": 20}
    assert all(run.transitions == MOVES for run in found.values())


def _targets(found: Found) -> list[str]:
    return [target for _, target in found.transitions]


async def _one_run(store: FaultyStore) -> Counter[str]:
    wf, bodies = two_states()
    async with Engine(store, wf) as engine:
        run = await engine.start("pair", 7, id="T-0")
        assert await run.result(timeout_s=20) == {"number": 7}
        rows = [event.name for event in await run.history()]
        assert rows == ["transition"] * 3
        assert engine.inside.problems == {}
    return bodies
