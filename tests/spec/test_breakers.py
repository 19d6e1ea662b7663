"""The specification's ten scenarios of breakers over a network of agents, with the presets as they are shipped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis.asyncio

from holdfast import BreakerOpen, Engine, RunHandle
from holdfast.store.memory import MemoryStore
from holdfast.testing import Lab, VirtualClock
from holdfast.testing.servers import PostgresServer, ValkeyServer
from tests.engine.journal import check_everything, told
from tests.spec.network import AGENTS, Network, Overloaded

LIMIT_S = 60.0


class Stage:
    """A network in a lab: virtual time, one engine."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.network = Network(clock=self.clock)
        self.store = MemoryStore(clock=self.clock)
        others = [self.network.workflow(f"chain-{number}") for number in range(2, 5)]
        workflows = [self.network.workflow(), self.network.queries(), self.network.queries("reports"), *others]
        self.lab = Lab(*workflows, clock=self.clock, store=self.store, dependencies=self.network.dependencies)

    async def start(self, number: int, workflow: str = "chain") -> list[RunHandle]:
        runs = [await self.lab.start(workflow, None) for _ in range(number)]
        await self.lab.settle()
        return runs

    def states(self) -> dict[str, str]:
        return {view.dependency.name: view.breaker.state for view in self.network.dependencies.look()}


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(made.lab)
        stack.push_async_callback(check_everything, made.store)
        yield made


async def states_of(runs: list[RunHandle]) -> set[tuple[str, str]]:
    return {(run.status, run.state) for run in [await run.refresh() for run in runs]}


async def test_1_a_cascade_over_four_agents_stops_at_its_root(stage: Stage) -> None:
    stage.network.down = {"llm"}
    runs = await stage.start(20)
    await stage.lab.skip("2m")
    assert [name for name, state in stage.states().items() if state != "closed"] == ["llm"]
    standing = {view.dependency.name: view.standing for view in stage.network.dependencies.look()}
    assert {name: standing[name].by for name in AGENTS} == {
        "triage": ("llm",), "supervisor": ("llm",), "data": (), "optimization": ("llm",),
    }  # fmt: skip
    assert await states_of(runs) == {("waiting", "triage")}, "none failed, none spent its retries"


async def test_2_a_breaker_that_opens_in_mid_run_keeps_what_there_is(stage: Stage) -> None:
    stage.network.down = {"db"}
    runs = await stage.start(10)
    await stage.lab.skip("1m")
    assert await states_of(runs) == {("waiting", "data")}
    for run in runs:
        assert run.data == {"kind": "answer", "plan": "answer"}
    stage.network.down.clear()
    await stage.lab.skip("1m")
    assert await states_of(runs) == {("done", "done")}
    assert set(stage.network.effects.values()) == {1}, "something was done twice"


@pytest.mark.parametrize(("outage", "is_late"), [("10s", False), ("5m", True)])
async def test_3_each_kind_of_agent_has_its_objective_and_a_breach_is_told(
    stage: Stage, outage: str, is_late: bool
) -> None:
    events: list[Any] = []
    stage.network.dependencies.listen(events.append)
    objectives = {view.dependency.name: view.dependency.objective_s for view in stage.network.dependencies.look()}
    assert {name: objectives[name] for name in AGENTS} == {
        "triage": 30, "supervisor": 60, "data": 45, "optimization": 90,
    }  # fmt: skip
    stage.network.down = {"db"}
    await stage.start(10)
    await stage.lab.skip(outage)
    stage.network.down.clear()
    await stage.lab.skip("1m")
    (view,) = [view for view in stage.network.dependencies.look() if view.dependency.name == "db"]
    assert view.last is not None
    assert (view.last.objective_s, view.last.is_late) == (30, is_late)
    assert [event.name for event in events if event.kind == "objective_missed"] == ["db"] * is_late


async def test_4_state_is_consistent_while_it_opens(stage: Stage) -> None:
    """Runs in all four states at the moment of the outage; `check_everything` reads every journal in the end."""
    runs = []
    for number in range(30):
        runs += await stage.start(1)
        if number == 10:
            stage.network.down = {"llm", "db"}
    await stage.lab.skip("3m")
    stage.network.down.clear()
    await stage.lab.skip("5m")
    assert await states_of(runs) == {("done", "done")}
    assert set(stage.network.effects.values()) == {1}
    assert len(stage.network.effects) == 30 * len(AGENTS)


async def test_5_of_six_workflows_at_once_only_those_that_need_it_wait(stage: Stage) -> None:
    stage.network.down = {"llm"}
    chains = [run for name in ("chain", "chain-2", "chain-3", "chain-4") for run in await stage.start(5, name)]
    others = [run for name in ("queries", "reports") for run in await stage.start(5, name)]
    await stage.lab.skip("1m")
    assert await states_of(others) == {("done", "done")}
    assert await states_of(chains) == {("waiting", "triage")}
    stage.network.down = {"db"}
    await stage.lab.skip("3m")
    assert await states_of(chains) == {("waiting", "data")}
    stage.network.down.clear()
    await stage.lab.skip("2m")
    assert await states_of(chains) == {("done", "done")}


async def test_6_the_chain_goes_through_and_degrades_without_its_cache(stage: Stage) -> None:
    (run,) = await stage.start(1)
    assert (await run.refresh()).data == {
        "kind": "answer", "plan": "answer", "rows": "rows", "cache": "cached", "saving": "answer",
    }  # fmt: skip
    stage.network.down = {"cache"}
    runs = await stage.start(20)
    assert await states_of(runs) == {("done", "done")}
    assert {run.data["cache"] for run in runs} == {"without"}
    standing = {view.dependency.name: view.standing for view in stage.network.dependencies.look()}
    assert (standing["data"].health, standing["data"].by) == ("degraded", ("cache",))


async def test_7_recovery_is_coordinated_from_the_roots_up(stage: Stage) -> None:
    order: list[str] = []
    for name in stage.states():
        stage.network.dependencies.breaker(name).listen(
            lambda event: order.append(event.breaker) if event.after == "half_open" else None
        )
        stage.network.dependencies.breaker(name).open("planted")
    stage.network.down = {"llm", "db", "cache"}
    await stage.lab.skip("1m")
    assert set(order) == {"llm", "db", "cache"}, "an agent was probed before what it needs"
    order.clear()
    stage.network.down.clear()
    await stage.start(4)
    await stage.lab.skip("5m")
    assert set(stage.states().values()) == {"closed"}
    assert order.index("llm") < order.index("triage") < order.index("supervisor")
    assert max(order.index("llm"), order.index("data")) < order.index("optimization")


async def test_8_what_is_parked_and_open_outlives_the_process(stage: Stage) -> None:
    stage.network.down = {"llm"}
    runs = await stage.start(10)
    await stage.lab.skip("1m")
    kept = stage.network.dependencies.snapshot()
    stage.network.dependencies.release("llm", reason="a new process knows nothing")
    stage.network.dependencies.restore(kept)
    calls = stage.network.calls["llm"]
    await stage.lab.restart()
    await stage.lab.skip("1m")
    assert stage.network.calls["llm"] == calls, "the new process called what was known to be down"
    stage.network.down.clear()
    await stage.lab.skip("5m")
    fresh = [await stage.lab.client.get(run.id) for run in runs]
    assert await states_of(fresh) == {("done", "done")}
    assert set(stage.network.effects.values()) == {1}


async def test_9_the_full_cycle_is_told_step_by_step(stage: Stage) -> None:
    moves: list[tuple[str, str]] = []
    stage.network.dependencies.breaker("llm").listen(lambda event: moves.append((event.before, event.after)))
    stage.network.down = {"llm"}
    runs = await stage.start(10)
    await stage.lab.skip("15s")
    stage.network.down.clear()
    await stage.lab.skip("3m")
    assert moves[0] == ("closed", "open")
    assert moves[-2:] == [("open", "half_open"), ("half_open", "closed")]
    assert await states_of(runs) == {("done", "done")}
    assert max([len(await told(run, "unparked")) for run in runs]) <= 4, "they go on in waves, not again and again"


async def test_with_one_domain_down_the_calls_that_do_not_need_it_succeed(stage: Stage) -> None:
    """Ten minutes of load: at least 99.9 % of the calls to the database go through while the model is down (C8)."""
    network, outcomes = stage.network, {"db": [0, 0], "llm": [0, 0]}
    network.down = {"llm"}
    for _ in range(600):
        for _ in range(5):
            for name, call in (("db", network.query), ("llm", network.ask_model)):
                outcomes[name][0] += 1
                with suppress(BreakerOpen, Overloaded):
                    await call()
                    outcomes[name][1] += 1
        await stage.lab.skip(1)
    made, succeeded = outcomes["db"]
    assert succeeded / made >= 0.999
    assert outcomes["llm"][1] == 0
    assert network.dependencies.breaker("llm").look().refused > 2900, "callers did not wait for what is down"


@asynccontextmanager
async def a_database(url: str) -> AsyncIterator[Any]:
    """A call to PostgreSQL over a connection that is opened anew where it broke."""
    held: list[asyncpg.Connection] = []

    async def select_one() -> None:
        try:
            if not held:
                held.append(await asyncpg.connect(url, timeout=2))
            await held[0].fetchval("SELECT 1", timeout=2)
        except BaseException:
            for broken in held:
                broken.terminate()
            held.clear()
            raise

    try:
        yield select_one
    finally:
        for connection in held:
            await connection.close()


async def test_10_all_together_on_postgres_and_redis_that_are_stopped_and_started(tmp_path: Path) -> None:
    with PostgresServer() as postgres, ValkeyServer() as valkey:
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(a_database(postgres.url()))
            client = redis.asyncio.Redis.from_url(valkey.url, socket_timeout=1, socket_connect_timeout=1)
            stack.push_async_callback(client.aclose)
            network = Network(database=database, cache=client.ping)
            workflows = (network.workflow(), network.queries())
            engine = Engine(f"sqlite:///{tmp_path / 'runs.db'}", *workflows, dependencies=network.dependencies)
            await stack.enter_async_context(engine)
            events: list[Any] = []
            network.dependencies.listen(events.append)
            first = [await engine.start("chain") for _ in range(5)]
            assert {run.outcome for run in await all_ended(first)} == {"done"}

            postgres.stop(mode="immediate")
            valkey.stop()
            network.down = {"llm"}
            late = [await engine.start("chain") for _ in range(20)]
            queries = [await engine.start("queries") for _ in range(20)]
            async with asyncio.timeout(LIMIT_S):
                while {"llm", "db"} - {event.name for event in events if event.kind == "ill"}:
                    await network_load(network)
            assert {name for name in AGENTS if network.dependencies.breaker(name).state != "closed"} == set()

            await asyncio.to_thread(postgres.start)
            await asyncio.to_thread(valkey.start)
            network.down.clear()
            ended = await all_ended([*late, *queries])
            assert {run.outcome for run in ended} == {"done"}
            assert set(network.effects.values()) == {1}
            recovered = {view.dependency.name: view.last for view in network.dependencies.look() if view.last}
            assert {"llm", "db"} <= recovered.keys()
            assert not any(recovery.is_late for recovery in recovered.values()), recovered
            assert engine.inside.problems == {}


async def network_load(network: Network) -> None:
    """What else goes on while the runs wait: calls that fail or are refused."""
    for call in (network.query, network.ask_model, network.look_up):
        with suppress(BreakerOpen, Overloaded, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            await call()
    await asyncio.sleep(0.05)


async def all_ended(runs: list[RunHandle]) -> list[RunHandle]:
    async with asyncio.timeout(LIMIT_S):
        for run in runs:
            await run.result()
    return [await run.refresh() for run in runs]
