"""The engine on a server that is restarted, or cut off from it: nothing stranded, nothing lost, nothing done twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast import Engine, Unavailable, health_of
from holdfast.store.open import open_store
from holdfast.testing.servers import PostgresServer
from tests.engine.crash.findings import examine, found_in, runs_now
from tests.engine.crash.pairs import MOVES, two_states
from tests.engine.crash.processes import LIMIT_S, ON_POSTGRES, Stage, staged, until
from tests.network.proxy import Fate, proxied

RUNS = 300
CHAIN = [("", "one"), ("one", "two"), ("two", "three"), ("three", "done")]
RUNS_OF_A_WAVE = 5
EACH_FATE = 3
UNDER_WAY = 40
"""States that were entered when the server goes: far from the first, and far from the last."""


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A server that these tests may stop."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def own_stage(own_server: PostgresServer, tmp_path: Path) -> Iterator[Stage]:
    """A stage on it."""
    own_server.execute("DROP DATABASE IF EXISTS crash WITH (FORCE)")
    with staged(tmp_path, own_server.create_database("crash")) as stage:
        yield stage


@pytest.mark.parametrize("mode", ["immediate", "fast"])
def test_a_server_that_restarts_in_the_middle_of_a_recovery_strands_no_run(
    own_server: PostgresServer, own_stage: Stage, mode: str
) -> None:
    """Some hundred runs of a dead process are being taken up; "immediate" is a crash of the server, "fast" an
    operator's restart. Every run ends, through each state once, taken up once; no state is entered again by the
    process that lives through it."""
    own_stage.run("crowd", starts=RUNS, engine={"works": False})
    dead = own_stage.start("crowd", stays=True)
    dead.until_line("entered", count=UNDER_WAY)
    dead.kill()
    heir = own_stage.start("crowd", stays=True)
    heir.until_line("entered", count=UNDER_WAY)
    own_server.stop(mode=mode)
    is_over = len(set(own_stage.ledger.keys("entered"))) == 3 * RUNS
    own_server.start()
    assert not is_over, "the server went when all was done: nothing was shown"
    heir.until(lambda: {run.status for run in runs_now(own_stage.url).values()} == {"done"}, "the end of all runs")
    heir.finish()
    found = examine(own_stage.url)
    assert len(found) == RUNS
    assert {name: run.rows for name, run in found.items() if run.transitions != CHAIN} == {}
    assert {run.count("recovered") for run in found.values()} <= {0, 1}
    entered = Counter(line.key for line in own_stage.ledger.lines("entered", pid=heir.pid))
    assert len(entered) > UNDER_WAY
    assert max(entered.values()) == 1


@pytest.mark.parametrize("mode", ["immediate", "fast"])
async def test_a_server_that_restarts_at_work_turns_health_red_and_green_again(
    own_server: PostgresServer, own_stage: Stage, mode: str
) -> None:
    """Runs are being started and worked on, and go on as soon as the server is back: every body has run once."""
    wf, bodies = two_states()
    store = open_store(own_stage.url)
    async with asyncio.timeout(2 * LIMIT_S), Engine(store, wf) as engine:

        def status() -> str:
            return health_of(engine).status.value

        async def one(number: int) -> object:
            run = await engine.start("pair", number, id=f"T-{number}")
            return await run.result()

        async with asyncio.TaskGroup() as group:
            early = [group.create_task(one(number)) for number in range(100)]
            await until(lambda: bodies["a"] >= 20, "twenty runs at work")
            await asyncio.to_thread(own_server.stop, mode=mode)
            await until(lambda: status() == "red", "red health")
            await asyncio.to_thread(own_server.start)
            late = [group.create_task(one(number)) for number in range(100, 120)]
            await until(lambda: status() == "green", "green health")
        assert [task.result() for task in (*early, *late)] == [{"number": number} for number in range(120)]
        assert engine.inside.problems == {}
        found = await found_in(store)
    await store.close()
    assert bodies == {"a": 120, "b": 120, "c": 120}
    assert len(found) == 120
    assert all(run.transitions == MOVES for run in found.values())


@ON_POSTGRES
@pytest.mark.parametrize("seed", range(2))
async def test_runs_end_well_through_a_network_that_cuts_connections_at_random(stage: Stage, seed: int) -> None:
    """At one statement in thirty, before or after it or its answer: of commits, claims, heartbeats, looks alike."""
    draw = random.Random(seed)
    fates = [Fate.CUT_BEFORE, Fate.CUT_AFTER, Fate.CUT_ANSWERED, Fate.CUT_LATE]
    is_rough = False

    def decide(_sql: str) -> Fate:
        return draw.choice(fates) if is_rough and draw.random() < 1 / 30 else Fate.PASS

    wf, bodies = two_states()
    with proxied(stage.url, decide) as proxy:
        store = open_store(proxy.url(stage.url))
        async with asyncio.timeout(2 * LIMIT_S), Engine(store, wf) as engine:
            is_rough = True
            waves = 0
            while min(proxy.fates[fate] for fate in fates) < EACH_FATE:
                names = [f"T-{waves}-{number}" for number in range(RUNS_OF_A_WAVE)]
                results = await asyncio.gather(*(_surely(engine, name, waves) for name in names))
                assert results == [{"number": waves}] * RUNS_OF_A_WAVE
                waves += 1
            is_rough = False
            assert engine.inside.problems == {}
        await store.close()
    found = await asyncio.to_thread(examine, stage.url)
    count = waves * RUNS_OF_A_WAVE
    assert len(found) == count
    # A read or a claim that is cut off sets its run down, and a body whose memo was not yet sent off runs again then.
    assert count <= min(bodies.values())
    assert max(bodies.values()) <= count + sum(proxy.fates[fate] for fate in fates)
    assert all(run.transitions == MOVES for run in found.values())


async def _surely(engine: Engine, id: str, number: int) -> object:
    """The result of a run. A call that meets three cuts in a row is made again: Unavailable says that it may be."""
    while True:
        try:
            return await (await engine.start("pair", number, id=id)).result()
        except Unavailable:
            await asyncio.sleep(0)
