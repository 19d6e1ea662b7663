"""Sessions and their registry: agents made once, reused, ended; idle sessions go; nobody reaches another's."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast import (
    AgentRegistry,
    InvalidInput,
    NotFound,
    Unavailable,
    UserAgentSession,
    UserExecutionContext,
    UserStreams,
    WrongContext,
)
from holdfast.store.contract.protocol import OpenStore
from holdfast.store.contract.records import Position
from holdfast.store.memory import MemoryStore
from holdfast.testing.faulty_store import FaultyStore
from holdfast.testing.virtual_clock import VirtualClock
from holdfast.users.rules import Idleness, to_evict
from tests.users.conftest import context, until

ANA, BEN = context("ana"), context("ben")
USERS, CONTEXTS = 1000, 5
CONNECTIONS = 25


class Agent:
    """An agent that counts those of its kind and knows when it was ended."""

    made = 0

    def __init__(self, ctx: UserExecutionContext) -> None:
        type(self).made += 1
        self.user = ctx.user
        self.is_ended = False

    async def cleanup(self) -> None:
        self.is_ended = True


@pytest.fixture
async def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def registry(memory: OpenStore, clock: VirtualClock) -> AsyncIterator[AgentRegistry]:
    Agent.made = 0
    async with UserStreams(memory) as streams:
        opened = AgentRegistry(streams, clock=clock, idle_max_s=60, sessions_max=USERS)
        opened.declare("agent", Agent)
        yield opened
        await opened.close()


class TestAgents:
    async def test_an_agent_is_made_on_demand_and_reused(self, registry: AgentRegistry) -> None:
        assert registry.names(ANA) == ()
        first = await registry.get(ANA, "agent")
        assert await registry.get(ANA, "agent") is first
        assert (first.user, registry.names(ANA), Agent.made) == ("ana", ("agent",), 1)
        assert await registry.get(BEN, "agent") is not first

    async def test_a_stampede_makes_it_once(self, registry: AgentRegistry) -> None:
        may_go, calls = asyncio.Event(), []

        async def slow(ctx: UserExecutionContext) -> Agent:
            calls.append(ctx.user)
            await may_go.wait()
            return Agent(ctx)

        registry.declare("slow", slow)
        waiting = [asyncio.ensure_future(registry.get(ANA, "slow")) for _ in range(200)]
        await until(lambda: calls, "it is being made")
        waiting[0].cancel()  # who gives up does not take it from the others
        await asyncio.sleep(0)
        may_go.set()
        agents = await asyncio.gather(*waiting[1:])
        assert (calls, len(set(map(id, agents)))) == (["ana"], 1)
        assert registry.session(ANA).metrics().waited == 199

    async def test_a_factory_that_fails_fails_for_all_who_waited_and_is_asked_again(
        self, registry: AgentRegistry
    ) -> None:
        attempts = []

        def flaky(ctx: UserExecutionContext) -> Agent:
            attempts.append(ctx)
            if len(attempts) == 1:
                raise OSError("no model")
            return Agent(ctx)

        registry.declare("flaky", flaky)
        outcomes = await asyncio.gather(*(registry.get(ANA, "flaky") for _ in range(5)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [OSError] * 5
        assert (await registry.get(ANA, "flaky")).user == "ana"

    async def test_the_context_of_a_factory_is_the_sessions_own_and_outlives_the_request(
        self, registry: AgentRegistry
    ) -> None:
        seen = []
        registry.declare("keeps", lambda ctx: seen.append(ctx) or Agent(ctx))
        request = context("ana", request="q-1")
        await registry.get(request, "keeps")
        await request.cleanup()
        assert (seen[0].user, seen[0].is_closed, seen[0].request != "q-1") == ("ana", False, True)

    async def test_register_remove_and_reset(self, registry: AgentRegistry) -> None:
        mine, other = Agent(ANA), Agent(ANA)
        registry.register(ANA, "mine", mine)
        with pytest.raises(InvalidInput, match="remove it first"):
            registry.register(ANA, "mine", other)
        assert await registry.remove(ANA, "mine") is None
        assert mine.is_ended
        registry.register(ANA, "mine", other)
        made = await registry.get(ANA, "agent")
        assert await registry.reset(ANA) == ()
        assert (other.is_ended, made.is_ended, registry.names(ANA)) == (True, True, ())
        assert await registry.get(ANA, "agent") is not made

    async def test_an_agent_that_is_not_there_names_the_users_own_only(self, registry: AgentRegistry) -> None:
        registry.register(BEN, "bens-secret", Agent(BEN))
        for ask in (registry.get(ANA, "nothing"), registry.remove(ANA, "bens-secret")):
            with pytest.raises(NotFound) as refused:
                await ask
            assert refused.value.known == ["agent"]
        assert registry.names(BEN) == ("bens-secret",)

    async def test_a_reset_while_an_agent_is_made_leaves_none_behind(self, registry: AgentRegistry) -> None:
        began, may_go = asyncio.Event(), asyncio.Event()

        async def stubborn(ctx: UserExecutionContext) -> Agent:
            began.set()
            try:
                await may_go.wait()
            except asyncio.CancelledError:
                await may_go.wait()
            return Agent(ctx)

        registry.declare("stubborn", stubborn)
        waiting = asyncio.ensure_future(registry.get(ANA, "stubborn"))
        await began.wait()
        await registry.reset(ANA)
        may_go.set()
        with pytest.raises(Unavailable, match="reset while it was made"):
            await waiting
        assert registry.names(ANA) == ()

    @pytest.mark.parametrize("name", ["", "default", "none", "a\nb", "x" * 201])
    async def test_names_that_stand_for_nothing_are_refused(self, registry: AgentRegistry, name: str) -> None:
        with pytest.raises(InvalidInput):
            registry.register(ANA, name, Agent(ANA))
        with pytest.raises(InvalidInput):
            registry.declare(name, Agent)


class TestSessions:
    async def test_a_session_refuses_every_other_users_context(self, registry: AgentRegistry) -> None:
        session = registry.session(ANA)
        for other in (BEN, context("ana", tenant="other")):
            with pytest.raises(WrongContext) as refused:
                await session.get("agent", other)
            assert "ben" not in refused.value.message
            with pytest.raises(WrongContext):
                session.emit(other, "tick")
            with pytest.raises(WrongContext):
                async with session.connection(other):
                    pass
        for wrong in ("ana", {"user": "ana"}, 7):
            with pytest.raises(WrongContext, match="must be UserExecutionContext"):
                registry.session(wrong)  # type: ignore[arg-type]

    async def test_a_default_context_is_derived_from_the_sessions_user(self, registry: AgentRegistry) -> None:
        session = registry.session(ANA)
        first, second = session.check(None), session.context(thread="t-1")
        assert (first.user, first.tenant, second.thread) == ("ana", "acme", "t-1")
        assert first.request != second.request

    async def test_a_thousand_users_with_five_contexts_each_are_created_and_used_at_once_unmixed(
        self, registry: AgentRegistry
    ) -> None:
        async def use(user: int, number: int) -> tuple[UserAgentSession, Any]:
            ctx = context(f"u{user}", request=f"q-{number}")
            agent = await registry.get(ctx, "agent")
            assert agent.user == ctx.user
            return registry.session(ctx), agent

        found = await asyncio.gather(*(use(user, number) for number in range(CONTEXTS) for user in range(USERS)))
        assert len({id(session) for session, _ in found}) == len(registry) == Agent.made == USERS
        metrics = registry.metrics()
        assert (metrics.sessions, metrics.agents, metrics.made) == (USERS, USERS, USERS)

    async def test_idle_sessions_go_with_their_agents_and_busy_ones_stay(
        self, registry: AgentRegistry, clock: VirtualClock
    ) -> None:
        idle, connected = await registry.get(ANA, "agent"), await registry.get(BEN, "agent")
        async with registry.connection(BEN):
            clock.advance_to(clock.time_s() + 61)
            assert await registry.evict_idle() == 1
            assert (registry.find(ANA), idle.is_ended, connected.is_ended) == (None, True, False)
        assert await registry.evict_idle() == 0, "it was used a moment ago"
        clock.advance_to(clock.time_s() + 61)
        assert await registry.evict_idle() == 1
        assert registry.metrics().evicted == 2

    async def test_beyond_the_bound_the_longest_idle_goes_and_where_all_are_busy_a_new_user_waits(
        self, memory: OpenStore, clock: VirtualClock
    ) -> None:
        async with UserStreams(memory) as streams:
            registry = AgentRegistry(streams, clock=clock, sessions_max=2)
            for user in ("ana", "ben"):
                registry.session(context(user))
                clock.advance_to(clock.time_s() + 1)
            registry.session(context("cai"))
            assert (registry.find(ANA), len(registry)) == (None, 2)
            async with registry.connection(BEN), registry.connection(context("cai")):
                with pytest.raises(Unavailable, match="all 2 sessions are busy"):
                    registry.session(ANA)
            assert registry.metrics().full == 1
            await registry.close()

    def test_the_rule_of_eviction(self) -> None:
        sessions = [Idleness(("t", f"u{n}"), idle_s=float(n), is_busy=n == 4) for n in range(5)]
        assert to_evict(sessions, idle_max_s=3, sessions_max=5) == [("t", "u3")]
        assert to_evict(sessions, idle_max_s=99, sessions_max=3) == [("t", "u3"), ("t", "u2")]

    async def test_contexts_that_nobody_holds_are_not_kept(self, registry: AgentRegistry) -> None:
        session = registry.session(ANA)
        held = session.context()
        for _ in range(100):
            session.context()
        gc.collect()
        assert session.live_contexts == 1
        await held.cleanup()
        assert session.live_contexts == 0


class TestConnections:
    async def test_twenty_five_connections_of_each_of_ten_users_have_contexts_of_their_own(
        self, registry: AgentRegistry
    ) -> None:
        ended: list[str] = []
        all_open, close = asyncio.Barrier(10 * CONNECTIONS + 1), asyncio.Event()

        async def serve(user: str) -> UserExecutionContext:
            async with registry.connection(context(user)) as own:
                own.on_cleanup(lambda: ended.append(own.user), name="socket")
                await all_open.wait()
                await close.wait()
                return own

        serving = [asyncio.ensure_future(serve(f"u{n % 10}")) for n in range(10 * CONNECTIONS)]
        await all_open.wait()
        assert [session.connections for session in registry.sessions()] == [CONNECTIONS] * 10
        close.set()
        contexts = await asyncio.gather(*serving)
        assert len({own.request for own in contexts}) == 10 * CONNECTIONS
        assert sorted(ended) == sorted(own.user for own in contexts)
        assert all(own.is_closed for own in contexts)
        assert sum(session.connections for session in registry.sessions()) == 0

    def test_ten_threads_have_sessions_and_contexts_of_one_user_each(self) -> None:
        failures: list[BaseException] = []

        async def serve(number: int) -> None:
            store = MemoryStore()
            async with UserStreams(store) as streams:
                registry = AgentRegistry(streams)
                registry.declare("agent", Agent)
                mine = context(f"u{number}")
                for _ in range(50):
                    async with registry.connection(mine) as own:
                        assert (await registry.get(own, "agent")).user == own.user == f"u{number}"
                await registry.close()
            await store.close()

        def run(number: int) -> None:
            try:
                asyncio.run(serve(number))
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failures == []


def test_loops_that_ended_are_not_kept_by_whatever_was_used_in_them() -> None:
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []
    store = MemoryStore()

    async def work(number: int) -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        async with UserStreams(store) as streams:
            registry = AgentRegistry(streams)
            registry.declare("agent", Agent)
            async with registry.connection(ANA) as own:
                await registry.get(own, "agent")
                registry.session(own).emit(own, "tick", number)
            await registry.session(ANA).emitter.flush()
            await anext(streams.stream(ANA, after=f"1:{number}" if number else "0:0"))
            await registry.close()

    for number in range(30):
        asyncio.run(work(number))
    gc.collect()
    assert sum(loop() is not None for loop in loops) <= 1


class Socket:
    """A bridge that keeps what it is sent, or refuses it."""

    def __init__(self, *, is_broken: bool = False) -> None:
        self.sent: list[tuple[str, str, Position]] = []
        self._is_broken = is_broken

    async def send(self, ctx: UserExecutionContext, event: Any) -> None:
        if self._is_broken:
            raise ConnectionError("gone")
        self.sent.append((ctx.user, event.name, event.position))


class TestBridge:
    async def test_events_reach_users_by_the_bridge_while_the_stream_is_away_and_are_in_it_afterwards(self) -> None:
        store = FaultyStore(MemoryStore())
        socket = Socket()
        async with UserStreams(store) as streams:
            registry = AgentRegistry(streams)
            there = registry.session(ANA)
            registry.set_bridge(socket)
            to_come = registry.session(BEN)
            store.fall_ill()
            for session in (there, to_come):
                session.emit(None, "first")
                session.emit(None, "second")
            await until(lambda: len(socket.sent) == 4, "the bridge told them")
            assert there.metrics().events_waiting == 2
            store.recover()
            await until(lambda: not there.is_busy and not to_come.is_busy, "the stream has them")
            names = [(await anext(reader)).name for reader in [streams.stream(ANA, after="0:0")] for _ in range(2)]
            assert names == ["first", "second"]
            assert sorted(socket.sent) == [
                (user, name, Position(0, 0)) for user in ("ana", "ben") for name in ("first", "second")
            ]
            metrics = there.metrics()
            assert (metrics.events_written, metrics.events_bridged, metrics.bytes_waiting) == (2, 2, 0)
            await registry.close()
        await store.close()

    async def test_what_is_emitted_while_a_commit_fails_stays_behind_what_was_in_it(self) -> None:
        class FailsOnce(MemoryStore):
            def __init__(self) -> None:
                super().__init__()
                self.began, self.fail = asyncio.Event(), asyncio.Event()

            async def commit(self, scope: Any, change: Any) -> Any:
                if not self.fail.is_set():
                    self.began.set()
                    await self.fail.wait()
                    raise Unavailable("away on purpose")
                return await super().commit(scope, change)

        store = FailsOnce()
        async with UserStreams(store) as streams:
            registry = AgentRegistry(streams)
            session = registry.session(ANA)
            session.emit(None, "tick", 0)
            session.emit(None, "tick", 1)
            await store.began.wait()
            session.emit(None, "tick", 2)
            store.fail.set()
            await until(lambda: not session.is_busy, "all are written")
            reader = streams.stream(ANA, after="0:0")
            assert [(await anext(reader)).data for _ in range(3)] == [0, 1, 2]
            await registry.close()
        await store.close()

    async def test_a_bridge_that_is_broken_costs_nothing_but_itself(self) -> None:
        store = FaultyStore(MemoryStore())
        async with UserStreams(store) as streams:
            registry = AgentRegistry(streams)
            registry.set_bridge(Socket(is_broken=True))
            store.fall_ill()
            registry.session(ANA).emit(None, "first")
            await until(lambda: registry.session(ANA).emitter.figures().is_away, "the stream is away")
            store.recover()
            await until(lambda: not registry.session(ANA).is_busy, "the stream has it")
            assert registry.session(ANA).metrics().events_bridged == 0
            await registry.close()
        await store.close()

    async def test_beyond_the_bound_the_oldest_events_go_and_the_stream_tells_how_many(self) -> None:
        store = FaultyStore(MemoryStore())
        async with UserStreams(store) as streams:
            registry = AgentRegistry(streams, events_queue_max=10)
            session = registry.session(ANA)
            store.fall_ill()
            session.emit(None, "tick", -1)
            await until(lambda: session.emitter.figures().is_away, "the stream is away")
            for n in range(25):
                session.emit(None, "tick", n)
            assert session.metrics().events_waiting == 10
            store.recover()
            await until(lambda: not session.is_busy, "the stream has them")
            reader = streams.stream(ANA, after="0:0")
            told = [await anext(reader) for _ in range(11)]
            assert [(each.name, each.data) for each in told] == [
                ("events.dropped", {"count": 16}),
                *(("tick", n) for n in range(15, 25)),
            ]
            await registry.close()
        await store.close()
