"""Dependencies that go down and come back, in virtual time: who is probed, in which order, and how it is told."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import BreakerOpen
from holdfast.resilience.dependencies import Dependencies
from holdfast.resilience.graph import Dependency
from holdfast.resilience.healing import closed_by_s
from tests.resilience.world import Down, World, in_virtual_time

CHAIN = (
    Dependency(name="llm", kind="llm"),
    Dependency(name="agent", kind="agent", needs=("llm",)),
    Dependency(name="app", kind="agent", needs=("agent",)),
)


async def call_often(world: World, name: str, times: int) -> None:
    for _ in range(times):
        with suppress(Down, BreakerOpen):
            await world.call(name)
        await asyncio.sleep(0.05)


async def until_all_closed(world: World, *, within_s: float) -> float:
    """How many virtual seconds it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while set(world.states().values()) != {"closed"}:
        assert loop.time() - began <= within_s, f"not closed after {within_s} s: {world.states()}"
        await asyncio.sleep(0.1)
    return loop.time() - began


def test_of_a_chain_only_the_one_that_fails_opens() -> None:
    async def work() -> None:
        world = World(*CHAIN)
        async with world.dependencies:
            world.down = {"llm"}
            await call_often(world, "app", 20)
            assert world.states() == {"llm": "open", "agent": "closed", "app": "closed"}
            made = len(world.calls)
            with pytest.raises(BreakerOpen, match="app is blocked by llm") as refused:
                await world.call("app")
            assert (refused.value.state, refused.value.blamed) == ("blocked", "llm")
            assert len(world.calls) == made, "it was called although it could not succeed"
            standing = {view.dependency.name: view.standing for view in world.dependencies.look()}
            assert (standing["app"].health, standing["app"].by) == ("blocked", ("llm",))

    in_virtual_time(work)


def test_all_is_closed_within_the_bound_and_roots_come_first() -> None:
    async def work() -> None:
        world = World(*CHAIN)
        async with world.dependencies:
            for name in ("app", "agent", "llm"):
                world.dependencies.breaker(name).open("planted")
            world.down = {"llm", "agent", "app"}
            await asyncio.sleep(60)
            assert {name for _, name in world.probes} == {"llm"}, "probed before what it needs was closed"
            world.down.clear()
            world.probes.clear()
            bound = closed_by_s(world.dependencies.graph, "app", lag_s=0.1)
            await until_all_closed(world, within_s=bound)
            first = {name: min(at for at, probed in world.probes if probed == name) for name in world.states()}
            assert first["llm"] < first["agent"] < first["app"]

    in_virtual_time(work)


def test_a_recovery_is_compared_with_its_objective_and_told_once() -> None:
    async def work() -> None:
        world = World(Dependency(name="db", kind="database", recovery_s=10), Dependency(name="llm", kind="llm"))
        async with world.dependencies:
            world.down = {"db"}
            await call_often(world, "db", 20)
            await asyncio.sleep(40)
            world.down.clear()
            await until_all_closed(world, within_s=30)
        assert world.told("ill") == world.told("objective_missed") == world.told("recovered") == ["db"]
        assert "over its objective" in world.events[-1].reason

    in_virtual_time(work)


def test_who_never_comes_back_sleeps_until_people_wake_it() -> None:
    async def work() -> None:
        world = World(Dependency(name="db", kind="database", recovery_s=10), rounds_max=3)
        async with world.dependencies:
            world.down = {"db"}
            await call_often(world, "db", 20)
            await asyncio.sleep(600)
            probed = len(world.probes)
            assert (probed, world.told("dormant")) == (3, ["db"])
            world.down.clear()
            await asyncio.sleep(600)
            assert len(world.probes) == probed
            world.dependencies.wake("db")
            await until_all_closed(world, within_s=5)

    in_virtual_time(work)


def test_without_a_probe_of_its_own_the_next_caller_is_the_probe() -> None:
    async def work() -> None:
        world = World(*CHAIN, has_probes=False)
        async with world.dependencies:
            world.down = {"llm"}
            await call_often(world, "llm", 40)
            world.down.clear()
            await call_often(world, "llm", 400)
            assert world.states()["llm"] == "closed"

    in_virtual_time(work)


def test_an_offer_that_nobody_takes_goes_to_the_next() -> None:
    """One place for probes: whoever has no traffic does not keep it."""

    async def work() -> None:
        nodes = [Dependency(name=f"d{number}") for number in range(3)]
        world = World(*nodes, has_probes=False, probing_max=1)
        async with world.dependencies:
            for node in nodes:
                world.dependencies.breaker(node.name).open("planted")
            await call_often(world, "d2", 5000)
            assert world.states()["d2"] == "closed"
            assert world.states()["d0"] == "open"

    in_virtual_time(work)


def test_a_coordinator_killed_in_mid_recovery_makes_no_second_wave() -> None:
    async def work() -> None:
        nodes = [Dependency(name=f"d{number}", kind="database") for number in range(8)]
        world = World(*nodes, probing_max=2)
        async with world.dependencies:
            for node in nodes:
                world.dependencies.breaker(node.name).open("planted")
            world.down = {node.name for node in nodes}
            await asyncio.sleep(20)
        attempts = {name: kept.attempt for name, kept in world.dependencies.snapshot().items()}
        again = World(*nodes, probing_max=2)
        again.dependencies.restore(world.dependencies.snapshot())
        again.down = set(world.down)
        async with again.dependencies:
            await asyncio.sleep(0.001)
            assert len(again.probes) <= 2, "everything was probed at once"
            assert {name: kept.attempt for name, kept in again.dependencies.snapshot().items()} == attempts
            again.down.clear()
            await until_all_closed(again, within_s=60)

    in_virtual_time(work)


def test_so_much_unrelated_illness_is_likelier_our_own() -> None:
    async def work() -> None:
        world = World(*(Dependency(name=f"d{number}") for number in range(4)))
        for number in range(3):
            world.dependencies.breaker(f"d{number}").open("planted")
        assert world.dependencies.is_self_suspect
        assert world.told("self_suspect") == ["d2"]
        for number in range(3):
            world.dependencies.release(f"d{number}")
        assert not world.dependencies.is_self_suspect

    in_virtual_time(work)


def test_background_waits_while_people_are_served() -> None:
    async def work() -> None:
        world = World(Dependency(name="llm", kind="llm"))
        async with world.dependencies:
            world.dependencies.breaker("llm").open("planted")
            await until_all_closed(world, within_s=30)
            served = {"people": 0, "background": 0}
            for _ in range(20):
                for load in ("people", "background"):
                    with suppress(BreakerOpen):
                        await world.dependencies.on("llm", load=load).call(asyncio.sleep, 0)  # type: ignore[arg-type]
                        served[load] += 1
            assert served == {"people": 1, "background": 0}, "one at once, and no time has passed"

    in_virtual_time(work)


def test_a_fallback_serves_what_is_only_wanted() -> None:
    async def work() -> None:
        dependencies = Dependencies(Dependency(name="cache", kind="redis"))
        dependencies.force("cache", "forced_open", reason="maintenance")

        async def look_up() -> str:
            return "cached"

        async def without(error: Exception) -> str:
            return f"without: {type(error).__name__}"

        assert await dependencies.on("cache").call_or(without, look_up) == "without: BreakerOpen"
        dependencies.release("cache")
        assert await dependencies.on("cache").call_or(without, look_up) == "cached"

    in_virtual_time(work)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Dependency, ...]:
    size = draw(st.integers(1, 7))
    kinds = st.sampled_from(["llm", "database", "redis", "http", "agent"])
    return tuple(
        Dependency(
            name=f"d{number}",
            kind=draw(kinds),
            needs=tuple(f"d{other}" for other in range(number) if draw(st.integers(0, 2)) == 0),
        )
        for number in range(size)
    )


@settings(max_examples=30, deadline=None)
@given(nodes=graphs(), seed=st.integers(0, 2**32), has_probes=st.booleans())
def test_whatever_goes_down_nothing_is_probed_too_early_and_all_comes_back(
    nodes: tuple[Dependency, ...], seed: int, has_probes: bool
) -> None:
    async def work() -> None:
        world = World(*nodes, seed=seed, has_probes=has_probes, probing_max=2)
        graph = world.dependencies.graph

        def watch(event: object) -> None:
            states = world.states()
            probing = [name for name, state in states.items() if state == "half_open"]
            assert len(probing) <= 2, f"{probing} are probed at once"
            for name in probing:
                ill = {below for below in graph.below(name) if states[below] != "closed"}
                assert not ill, f"{name} is probed although it needs {ill}"

        for name in graph.order:
            world.dependencies.breaker(name).listen(watch)
        async with world.dependencies:
            for _ in range(4):
                world.down = {node.name for node in nodes if world.chance.random() < 0.4}
                for _ in range(60):
                    name = world.chance.choice(graph.order)
                    with suppress(Down, BreakerOpen):
                        await world.call(name)
                    await asyncio.sleep(world.chance.random())
            world.down.clear()
            bound = sum(closed_by_s(graph, name, lag_s=30.0) for name in graph.order)
            loop = asyncio.get_running_loop()
            began = loop.time()
            while set(world.states().values()) != {"closed"}:
                assert loop.time() - began < bound, f"not back after {bound} s: {world.dependencies.look()}"
                for name in graph.order:
                    with suppress(Down, BreakerOpen):
                        await world.call(name)
                await asyncio.sleep(1)

    in_virtual_time(work, seed=seed)
