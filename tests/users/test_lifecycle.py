"""Memory within its marks, and the end of agents: emergencies of one and of all, clean-ups of every bad manner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast import (
    AgentLifecycleManager,
    ContextClosed,
    ExecutionEngine,
    InvalidInput,
    Unavailable,
    UserExecutionContext,
)
from holdfast.store.contract.protocol import OpenStore
from holdfast.testing.virtual_clock import VirtualClock
from holdfast.users.memory import peak_rss_bytes, rss_bytes
from holdfast.users.rules import Watermarks, pressure_of
from tests.users.conftest import DirectCore, context, until

ANA, BEN = context("ana"), context("ben")
SOFT, HARD = 1000, 2000


class Memory:
    """Resident memory as a test says."""

    def __init__(self) -> None:
        self.bytes = 0

    def __call__(self) -> int:
        return self.bytes


class Ends:
    """Agents of every manner of clean-up."""

    class Well:
        is_ended = False

        async def cleanup(self) -> None:
            self.is_ended = True

    class Sync:
        is_ended = False

        def close(self) -> None:
            self.is_ended = True

    class Raises:
        async def cleanup(self) -> None:
            raise OSError("disk full")

    class Hangs:
        async def cleanup(self) -> None:
            await asyncio.Event().wait()

    class Swallows:
        def __init__(self) -> None:
            self.may_end = asyncio.Event()

        async def cleanup(self) -> None:
            while not self.may_end.is_set():
                try:
                    await self.may_end.wait()
                except asyncio.CancelledError:
                    continue

    class Without:
        pass


@pytest.fixture
async def memory_now() -> Memory:
    return Memory()


@pytest.fixture
async def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def engine(memory: OpenStore, memory_now: Memory, clock: VirtualClock) -> AsyncIterator[ExecutionEngine]:
    """One that looks at its memory only when a test says so."""
    opened = ExecutionEngine(
        memory,
        DirectCore(),
        memory_soft_bytes=SOFT,
        memory_hard_bytes=HARD,
        rss=memory_now,
        clock=clock,
        core_grace_s=0,
    )
    yield opened
    await opened.close()


async def waits(ctx: Any, value: Any, emit: Any) -> Any:
    await asyncio.Event().wait()


async def says(ctx: Any, value: Any, emit: Any) -> Any:
    return value


class TestCleanUps:
    async def test_each_is_bounded_and_told_and_the_others_are_ended(self, memory: OpenStore) -> None:
        async with ExecutionEngine(memory, DirectCore()) as engine:
            engine.registry._cleanup_timeout_s = 0.05
            agents = {kind.__name__.lower(): kind() for kind in vars(Ends).values() if isinstance(kind, type)}
            for name, agent in agents.items():
                engine.registry.register(ANA, name, agent)
            failures = {failure.agent: failure for failure in await engine.registry.reset(ANA)}
            assert sorted(failures) == ["hangs", "raises", "swallows"]
            assert failures["raises"].reason == "OSError: disk full"
            assert failures["hangs"].reason == "not done within 0.05 s"
            assert failures["swallows"].is_stuck
            assert agents["well"].is_ended  # type: ignore[attr-defined]
            assert agents["sync"].is_ended  # type: ignore[attr-defined]
            agents["swallows"].may_end.set()  # type: ignore[attr-defined]

    async def test_one_agent_is_cleaned_up_by_name(self, engine: ExecutionEngine) -> None:
        engine.registry.register(ANA, "well", well := Ends.Well())
        engine.registry.register(ANA, "without", Ends.Without())
        assert await engine.lifecycle.clean_up(ANA, "well") is None
        assert (well.is_ended, engine.registry.names(ANA)) == (True, ("without",))


class TestEmergencies:
    async def test_of_one_user_stops_his_calls_and_nobody_elses(self, engine: ExecutionEngine) -> None:
        engine.registry.declare("waits", lambda ctx: waits)
        mine = [asyncio.ensure_future(engine.run(ANA, "waits")) for _ in range(5)]  # three run, two wait
        other = asyncio.ensure_future(engine.run(BEN, "waits"))
        await until(lambda: engine.statistics().running == 4, "they run")
        engine.registry.register(ANA, "well", well := Ends.Well())
        report = await engine.lifecycle.emergency_clean_up(ANA)
        assert (report.users, report.calls_stopped, report.agents_ended, report.stuck) == (1, 5, 2, ())
        outcomes = await asyncio.gather(*mine, return_exceptions=True)
        assert {str(outcome) for outcome in outcomes} == {"agent waits of ana: stopped by an emergency clean-up"}
        assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
        assert well.is_ended
        assert (other.done(), engine.statistics(BEN).running, engine.registry.find(ANA)) == (False, 1, None)
        assert engine.registry.seats.all.look().taken == 1
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)

    async def test_the_users_connections_are_closed_and_their_readers_end_and_others_go_on(
        self, engine: ExecutionEngine
    ) -> None:
        async def follow(whose: UserExecutionContext) -> Any:
            async with engine.registry.connection(whose) as own:
                return await anext(engine.stream(own, after="0:0"))

        mine, other = asyncio.ensure_future(follow(ANA)), asyncio.ensure_future(follow(BEN))
        await until(lambda: len(engine.streams.bell) == 2, "both follow")
        report = await engine.lifecycle.emergency_clean_up(ANA)
        assert report.connections_closed == 1
        with pytest.raises(ContextClosed):
            await mine
        await engine.publish(BEN, "tick")
        assert (await other).name == "tick"

    async def test_of_all_users_ends_everything_and_work_can_begin_again(self, engine: ExecutionEngine) -> None:
        engine.registry.declare("waits", lambda ctx: waits)
        engine.registry.declare("says", lambda ctx: says)
        calls = [asyncio.ensure_future(engine.run(context(f"u{n}"), "waits")) for n in range(20)]
        await until(lambda: engine.statistics().running == 20, "they run")
        report = await engine.lifecycle.emergency_clean_up_all()
        assert (report.users, report.calls_stopped, len(engine.registry)) == (20, 20, 0)
        await asyncio.gather(*calls, return_exceptions=True)
        assert engine.statistics().stopped == 20
        assert await engine.run(ANA, "says", 7) == 7

    async def test_a_call_that_does_not_end_is_named(self, memory: OpenStore) -> None:
        may_end = asyncio.Event()

        async def stubborn(ctx: Any, value: Any, emit: Any) -> Any:
            while not may_end.is_set():
                try:
                    await may_end.wait()
                except asyncio.CancelledError:
                    continue

        async with ExecutionEngine(memory, DirectCore(), core_grace_s=0) as engine:
            lifecycle = AgentLifecycleManager(engine.registry, stop_grace_s=0.05)
            engine.registry.declare("stubborn", lambda ctx: stubborn)
            call = asyncio.ensure_future(engine.run(ANA, "stubborn"))
            await until(lambda: engine.statistics().running == 1, "it runs")
            report = await lifecycle.emergency_clean_up(ANA)
            assert (report.stuck, report.calls_stopped) == (("ana: stubborn",), 0)
            may_end.set()
            await asyncio.gather(call, return_exceptions=True)

    async def test_of_a_user_who_is_not_there_does_nothing(self, engine: ExecutionEngine) -> None:
        report = await engine.lifecycle.emergency_clean_up(context("nobody"))
        assert (report.users, report.calls_stopped) == (0, 0)


class TestMemory:
    async def test_past_the_soft_mark_nobody_is_admitted_and_the_idle_go_but_what_runs_goes_on(
        self, engine: ExecutionEngine, memory_now: Memory
    ) -> None:
        engine.registry.declare("waits", lambda ctx: waits)
        engine.registry.session(BEN)
        call = asyncio.ensure_future(engine.run(ANA, "waits"))
        await until(lambda: engine.statistics().running == 1, "it runs")
        memory_now.bytes = SOFT
        assert await engine.lifecycle.look() == "soft"
        assert (engine.registry.find(BEN), call.done()) == (None, False)
        with pytest.raises(Unavailable, match="memory is short"):
            await engine.run(BEN, "waits")
        memory_now.bytes = int(SOFT * 0.95)
        assert await engine.lifecycle.look() == "soft", "it does not flap at the mark"
        memory_now.bytes = int(SOFT * 0.8)
        assert await engine.lifecycle.look() == "calm"
        assert engine.lifecycle.status().is_admitting
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    async def test_past_the_hard_mark_what_runs_may_finish_for_a_while_and_is_then_stopped(
        self, engine: ExecutionEngine, memory_now: Memory, clock: VirtualClock
    ) -> None:
        engine.registry.declare("waits", lambda ctx: waits)
        call = asyncio.ensure_future(engine.run(ANA, "waits", timeout_s=100))
        await until(lambda: engine.statistics().running == 1, "it runs")
        memory_now.bytes = HARD
        assert await engine.lifecycle.look() == "hard"
        assert not call.done()
        clock.advance_to(clock.time_s() + 10)
        await engine.lifecycle.look()
        with pytest.raises(Unavailable, match="emergency"):
            await call
        assert engine.lifecycle.status().drained == 1

    async def test_accounts_say_who_has_how_much(self, engine: ExecutionEngine) -> None:
        engine.registry.register(ANA, "well", Ends.Well())
        async with engine.registry.connection(ANA):
            size = engine.registry.session(ANA).emit(None, "tick", "x" * 100)
            engine.registry.session(BEN).emit(None, "tick")
            first, second = engine.lifecycle.accounts()
            assert (first.user, first.bytes_waiting, first.events_waiting) == ("ana", size, 1)
            assert (first.agents, first.handles, first.contexts) == (1, 1, 2)
            assert second.user == "ben"
            assert engine.lifecycle.account(ANA) == first
            assert engine.lifecycle.status().bytes_waiting == size + second.bytes_waiting
        await engine.registry.session(ANA).emitter.flush()
        assert engine.lifecycle.account(ANA).bytes_waiting == 0

    def test_this_process_has_memory(self) -> None:
        held = bytearray(64 << 20)
        assert peak_rss_bytes() >= rss_bytes() * 0.9 > len(held)

    def test_marks_without_meaning_are_refused(self) -> None:
        for marks in ({"soft_bytes": 0}, {"hard_bytes": True}, {"soft_bytes": 2, "hard_bytes": 1}):
            with pytest.raises(InvalidInput):
                Watermarks(**marks)

    def test_the_rule_of_pressure(self) -> None:
        marks = Watermarks(soft_bytes=100, hard_bytes=200)
        assert [pressure_of(rss, marks, "calm") for rss in (99, 100, 200)] == ["calm", "soft", "hard"]
        assert [pressure_of(rss, marks, "hard") for rss in (89, 90, 179, 180)] == ["calm", "soft", "soft", "hard"]
        assert pressure_of(1 << 40, Watermarks(), "calm") == "calm"
