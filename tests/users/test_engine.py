"""Calls of many users: turns, places, quotas, words to the user, figures, isolation, pipelines."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast import (
    BulkheadFull,
    ContextClosed,
    DeadlineExceeded,
    ExecutionEngine,
    InvalidInput,
    NotFound,
    QuotaExceeded,
    Unavailable,
    UserQuota,
    WorkflowError,
    WrongContext,
)
from holdfast.budget import Budget
from holdfast.store.contract.protocol import OpenStore
from holdfast.store.contract.records import Change
from holdfast.store.memory import MemoryStore
from holdfast.testing.faulty_store import Fault, FaultyStore, When
from holdfast.testing.virtual_clock import VirtualClock
from holdfast.users.stream import StreamEvent
from tests.users.conftest import DirectCore, context, store_url, until

ANA, BEN = context("ana"), context("ben")
USERS, TEN_TIMES = 15, 150


async def double(ctx: Any, value: Any, emit: Any) -> Any:
    """The simplest agent."""
    return value * 2


@pytest.fixture(params=["sqlite", "postgres", "mirror"])
def kind(request: pytest.FixtureRequest) -> str:
    """Kinds of stores that outlive their process."""
    return str(request.param)


@pytest.fixture
async def engine(memory: OpenStore) -> AsyncIterator[ExecutionEngine]:
    async with ExecutionEngine(memory, DirectCore(), core_grace_s=0) as opened:
        opened.registry.declare("double", lambda ctx: double)
        yield opened


async def events_of(engine: ExecutionEngine, whose: Any, until_name: str) -> list[StreamEvent]:
    """The user's events up to the first of that name."""
    found = []
    async with asyncio.timeout(30):
        async for event in engine.stream(whose, after="0:0"):
            assert isinstance(event, StreamEvent)
            found.append(event)
            if event.name == until_name:
                break
    return found


def is_usage(change: Change) -> bool:
    """Whether a change is about what was used."""
    return any(key.kind == "usage" for key in change.keys)


class Gate:
    """An agent that waits until the test lets it go, and counts how many of each user run at once."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def __call__(self, ctx: Any, value: Any, emit: Any) -> Any:
        for who in (ctx.user, "all"):
            self.running[who] += 1
            self.most[who] = max(self.most[who], self.running[who])
        try:
            await self.open.wait()
        finally:
            for who in (ctx.user, "all"):
                self.running[who] -= 1
        return value


def gated(engine: ExecutionEngine) -> Gate:
    gate = Gate()
    engine.registry.declare("gate", lambda ctx: gate.__call__)
    return gate


async def test_an_engine_opens_its_store_by_url_and_another_life_goes_on_where_the_first_ended(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path
) -> None:
    url = store_url(request, kind, tmp_path)
    position = None
    for life in range(2):
        async with ExecutionEngine(url, DirectCore(), quota=UserQuota(starts=10)) as engine:
            engine.registry.declare("double", lambda ctx: double)
            assert await engine.run(ANA, "double", 2) == 4
            await engine.registry.session(ANA).emitter.flush()
            reader = engine.stream(ANA, after=position or "0:0")
            names = [event.name for event in [await anext(reader), await anext(reader)]]  # type: ignore[union-attr]
            assert names == ["agent.started", "agent.finished"]
            assert await engine.usage.used(ANA) == {"starts": life + 1}
            position = reader.position


class TestPlaces:
    async def test_six_calls_of_one_user_share_three_places(self, engine: ExecutionEngine) -> None:
        gate = gated(engine)
        calls = [asyncio.ensure_future(engine.run(ANA, "gate", n)) for n in range(6)]
        await until(lambda: gate.running["ana"] == 3, "three run")
        figures = engine.statistics(ANA)
        assert (figures.running, figures.waiting) == (3, 3)
        gate.open.set()
        assert await asyncio.gather(*calls) == list(range(6))
        assert gate.most["ana"] == 3

    async def test_sixty_calls_of_ten_users_keep_to_three_each_and_to_the_places_of_all(
        self, memory: OpenStore
    ) -> None:
        async with ExecutionEngine(memory, DirectCore(), places=16) as engine:
            gate = gated(engine)
            calls = [asyncio.ensure_future(engine.run(context(f"u{n % 10}"), "gate", n)) for n in range(60)]
            await until(lambda: gate.running["all"] == 16, "all places are taken")
            gate.open.set()
            assert await asyncio.gather(*calls) == list(range(60))
        assert gate.most.pop("all") == 16
        assert max(gate.most.values()) <= 3

    async def test_a_user_whose_queue_is_full_is_refused_and_another_is_not(self, memory: OpenStore) -> None:
        async with ExecutionEngine(memory, DirectCore(), places_per_user=1, queue_per_user_max=2) as engine:
            gate = gated(engine)
            engine.registry.declare("double", lambda ctx: double)
            calls = [asyncio.ensure_future(engine.run(ANA, "gate", n)) for n in range(3)]
            await until(lambda: engine.registry.session(ANA).own_places.look().waiting == 2, "the queue is full")
            with pytest.raises(BulkheadFull, match="ana"):
                await engine.run(ANA, "gate", 4)
            assert await engine.run(BEN, "double", 2) == 4
            gate.open.set()
            await asyncio.gather(*calls)
            assert engine.statistics(ANA).refused == 1

    @pytest.mark.parametrize("users", [USERS, TEN_TIMES])
    async def test_users_with_calls_at_once_have_their_own_agents_results_and_figures(
        self, engine: ExecutionEngine, users: int
    ) -> None:
        class Own:
            def __init__(self, user: str) -> None:
                self.seen = [user]

            async def run(self, ctx: Any, value: Any, emit: Any) -> Any:
                self.seen.append(f"{ctx.user}:{value}")
                emit("progress", {"of": ctx.user})
                await asyncio.sleep(0)
                return list(self.seen)

        engine.registry.declare("own", lambda ctx: Own(ctx.user))
        whose = [context(f"u{n}") for n in range(users)]
        await asyncio.gather(*(engine.run(each, "own", "a") for each in whose))
        second = await asyncio.gather(*(engine.run(each, "own", "b") for each in whose))
        assert second == [[f"u{n}", f"u{n}:a", f"u{n}:b"] for n in range(users)]
        assert [engine.statistics(each).finished for each in whose] == [2] * users
        assert engine.isolation().is_isolated
        assert engine.registry.metrics().agents == users
        for each in whose[:3]:
            await engine.registry.session(each).emitter.flush()
            events = await events_of(engine, each, "agent.finished")
            assert {event.data.get("of") for event in events} == {None, each.user}


class TestWords:
    async def test_a_call_that_is_too_slow_is_stopped_and_its_user_is_told_what_to_do(
        self, engine: ExecutionEngine
    ) -> None:
        gate = gated(engine)
        with pytest.raises(DeadlineExceeded):
            await engine.run(ANA, "gate", timeout_s=0.05)
        assert gate.running["ana"] == 0, "it was stopped"
        *_, told = await events_of(engine, ANA, "notification")
        assert told.data["text"].startswith("gate did not finish within")
        assert "Try again" in told.data["next_step"]
        assert told.data["reference"] in told.data["next_step"]
        assert told.request == told.data["reference"]
        assert engine.statistics(ANA).timed_out == 1

    async def test_an_error_is_raised_as_it_is_and_told_without_the_inside(self, engine: ExecutionEngine) -> None:
        async def broken(ctx: Any, value: Any, emit: Any) -> Any:
            raise KeyError("password of ben")

        engine.registry.declare("broken", lambda ctx: broken)
        with pytest.raises(KeyError, match="password of ben"):
            await engine.run(ANA, "broken")
        *_, told = await events_of(engine, ANA, "notification")
        assert "ben" not in str(told.data)
        assert (told.data["level"], told.data["text"]) == ("error", "broken failed.")

    async def test_a_flood_of_refusals_is_told_once_a_second(self, memory: OpenStore) -> None:
        clock = VirtualClock()
        engine = ExecutionEngine(memory, DirectCore(), quota=UserQuota(starts=1), clock=clock)
        engine.registry.declare("double", lambda ctx: double)
        await engine.run(ANA, "double", 1)
        for _ in range(2):
            for _ in range(20):
                with pytest.raises(QuotaExceeded):
                    await engine.run(ANA, "double", 1)
            clock.advance_to(clock.time_s() + 1)
        figures = engine.statistics(ANA)
        assert (figures.refused, figures.notified) == (40, 2)
        await engine.close()

    async def test_one_users_failure_is_told_to_nobody_else(self, engine: ExecutionEngine) -> None:
        async def broken(ctx: Any, value: Any, emit: Any) -> Any:
            raise RuntimeError("no")

        engine.registry.declare("broken", lambda ctx: broken)
        await engine.run(BEN, "double", 1)
        with pytest.raises(RuntimeError):
            await engine.run(ANA, "broken")
        assert (engine.statistics(BEN).failed, engine.statistics(BEN).notified) == (0, 0)
        assert "notification" not in [event.name for event in await events_of(engine, BEN, "agent.finished")]

    async def test_an_agent_that_is_not_there_is_named_with_the_users_own(self, engine: ExecutionEngine) -> None:
        engine.registry.register(BEN, "secret-of-ben", double)
        with pytest.raises(NotFound, match="expected one of double") as refused:
            await engine.run(ANA, "secret")
        assert "ben" not in refused.value.message


class TestQuotas:
    async def test_a_user_beyond_his_starts_is_refused_with_the_time_and_another_is_not(
        self, memory: OpenStore
    ) -> None:
        async with ExecutionEngine(memory, DirectCore(), quota=UserQuota(starts=3)) as engine:
            engine.registry.declare("double", lambda ctx: double)
            for _ in range(3):
                await engine.run(ANA, "double", 1)
            with pytest.raises(QuotaExceeded, match="3 of 3 starts") as refused:
                await engine.run(ANA, "double", 1)
            assert 3500 < refused.value.retry_after_s <= 3660
            assert await engine.run(BEN, "double", 1) == 2
            *_, told = await events_of(engine, ANA, "notification")
            assert "3 of 3 starts" in told.data["text"]
            assert told.data["retry_after_s"] == pytest.approx(refused.value.retry_after_s, abs=5)

    async def test_quotas_hold_over_processes_and_restarts(self, url: str, store: OpenStore) -> None:
        quota = UserQuota(starts=20)
        refused = 0

        async def try_it(engine: ExecutionEngine) -> int:
            try:
                await engine.run(ANA, "double", 1)
            except QuotaExceeded:
                return 1
            return 0

        for _ in range(2):
            async with (
                ExecutionEngine(store, DirectCore(), quota=quota) as here,
                ExecutionEngine(store, DirectCore(), quota=quota) as there,
            ):
                for engine in (here, there):
                    engine.registry.declare("double", lambda ctx: double)
                refused += sum(await asyncio.gather(*(try_it((here, there)[n % 2]) for n in range(15))))
                used = await here.usage.used(ANA)
        assert (refused, used) == (10, {"starts": 20})

    async def test_tokens_and_money_that_a_call_spends_count(self, memory: OpenStore) -> None:
        async def ask(ctx: Any, value: Any, emit: Any) -> Any:
            ctx.budget.charge(tokens=600, money_usd="0.25")

        quota = UserQuota(tokens=1000, money_usd=5.0)
        async with ExecutionEngine(memory, DirectCore(), quota=quota) as engine:
            engine.registry.declare("ask", lambda ctx: ask)
            mine = context("ana", budget=Budget(tokens=10_000))
            await engine.run(mine, "ask")
            await engine.run(ANA, "ask")
            assert await engine.usage.used(ANA) == {"tokens": 1200, "money_usd": 0.5}
            assert mine.budget is not None
            assert mine.budget.spent.tokens == 600
            with pytest.raises(QuotaExceeded, match="1200 of 1000 tokens"):
                await engine.run(ANA, "ask")

    async def test_a_call_cannot_spend_more_than_the_quota_leaves(self, memory: OpenStore) -> None:
        async def greedy(ctx: Any, value: Any, emit: Any) -> Any:
            ctx.budget.spend(tokens=700)

        async with ExecutionEngine(memory, DirectCore(), quota=UserQuota(tokens=1000)) as engine:
            engine.registry.declare("greedy", lambda ctx: greedy)
            await engine.run(ANA, "greedy")
            with pytest.raises(Exception, match="expected at most 300 more of 300"):
                await engine.run(ANA, "greedy")

    @pytest.mark.parametrize("fault", [Fault.LOSE_AFTER, Fault.LOSE_BEFORE])
    async def test_a_start_whose_answer_was_lost_counts_once(self, fault: Fault) -> None:
        store = FaultyStore(MemoryStore(), script=[When("commit", 1, fault, only=is_usage)])
        async with ExecutionEngine(store, DirectCore(), quota=UserQuota(starts=2)) as engine:
            engine.registry.declare("double", lambda ctx: double)
            await engine.run(ANA, "double", 1)
            assert await engine.usage.used(ANA) == {"starts": 1}
            assert not store.unseen()
        await store.close()

    async def test_what_a_call_used_while_the_store_was_away_counts_with_the_next(self) -> None:
        store = FaultyStore(MemoryStore())

        async def outage(ctx: Any, value: Any, emit: Any) -> Any:
            ctx.budget.charge(tokens=70)
            if value:
                store.fall_ill()

        async with ExecutionEngine(store, DirectCore(), quota=UserQuota(tokens=1000)) as engine:
            engine.registry.declare("outage", lambda ctx: outage)
            await engine.run(ANA, "outage", True)
            with pytest.raises(Unavailable):
                await engine.run(ANA, "outage", False)
            store.recover()
            await engine.run(ANA, "outage", False)
            assert await engine.usage.used(ANA) == {"tokens": 140}
        await store.close()

    async def test_many_calls_of_one_user_at_once_share_the_writes_of_their_usage(self) -> None:
        commits = Counter[str]()

        class Counting(MemoryStore):
            async def commit(self, scope: Any, change: Any) -> Any:
                await asyncio.sleep(0)
                commits.update(key.kind for key in change.keys)
                return await super().commit(scope, change)

        store = Counting()
        async with ExecutionEngine(store, DirectCore(), quota=UserQuota(starts=200), places_per_user=50) as engine:
            engine.registry.declare("double", lambda ctx: double)
            await asyncio.gather(*(engine.run(ANA, "double", n) for n in range(200)))
            assert await engine.usage.used(ANA) == {"starts": 200}
        assert commits["usage"] < 50
        await store.close()

    async def test_events_and_bytes_count(self, memory: OpenStore) -> None:
        async with ExecutionEngine(memory, DirectCore(), quota=UserQuota(events=4, bytes=10_000)) as engine:
            engine.registry.declare("double", lambda ctx: double)
            await engine.run(ANA, "double", 1)  # started, finished
            await engine.publish(ANA, "mine", {})
            await engine.publish(ANA, "mine", {})
            with pytest.raises(QuotaExceeded, match="4 of 4 events"):
                await engine.publish(ANA, "mine", {})
            with pytest.raises(QuotaExceeded, match="bytes"):
                await engine.publish(BEN, "big", "x" * 20_000)


class TestPipelines:
    async def test_each_agent_gets_what_the_one_before_gave(self, engine: ExecutionEngine) -> None:
        assert await engine.run_pipeline(ANA, ["double"] * 4, 1) == 16
        names = [event.name for event in await events_of(engine, ANA, "pipeline.stage")]
        assert names == ["agent.started", "agent.finished", "pipeline.stage"]

    async def test_a_stage_that_fails_is_named_and_what_was_done_is_kept(self, engine: ExecutionEngine) -> None:
        async def broken(ctx: Any, value: Any, emit: Any) -> Any:
            raise RuntimeError("no data")

        engine.registry.declare("data", lambda ctx: broken)
        with pytest.raises(WorkflowError, match=r"stage 2 of 3 \(data\) failed: no data") as failed:
            await engine.run_pipeline(ANA, ["double", "data", "double"], 3)
        assert (failed.value.stage, failed.value.done) == ("data", {"double": 6})
        with pytest.raises(InvalidInput, match="1 to 50"):
            await engine.run_pipeline(ANA, [], 3)

    async def test_a_pipelines_time_is_for_all_of_it(self, engine: ExecutionEngine) -> None:
        gated(engine)
        with pytest.raises(WorkflowError) as failed:
            await engine.run_pipeline(ANA, ["double", "gate"], 3, timeout_s=0.1)
        assert isinstance(failed.value.__cause__, DeadlineExceeded)


class TestBounds:
    async def test_anything_but_a_context_is_refused(self, engine: ExecutionEngine) -> None:
        for wrong in (None, "ana", {"user": "ana"}):
            with pytest.raises(WrongContext, match="must be UserExecutionContext"):
                await engine.run(wrong, "double", 1)  # type: ignore[arg-type]

    async def test_a_context_after_its_clean_up_is_refused(self, engine: ExecutionEngine) -> None:
        mine = context("ana")
        await mine.cleanup()
        with pytest.raises(Exception, match="after its clean-up"):
            await engine.run(mine, "double", 1)

    async def test_what_a_call_leaves_is_cleaned_up_with_it_whatever_came_of_it(self, engine: ExecutionEngine) -> None:
        ended = []

        async def opens(ctx: Any, value: Any, emit: Any) -> Any:
            ctx.on_cleanup(lambda: ended.append(value), name="file")
            return 1 / value

        engine.registry.declare("opens", lambda ctx: opens)
        await engine.run(ANA, "opens", 1)
        with pytest.raises(ZeroDivisionError):
            await engine.run(ANA, "opens", 0)
        assert ended == [1, 0]
        assert not ANA.is_closed

    async def test_a_caller_who_gives_up_takes_his_call_along(self, engine: ExecutionEngine) -> None:
        gate = gated(engine)
        call = asyncio.ensure_future(engine.run(ANA, "gate"))
        await until(lambda: gate.running["ana"] == 1, "it runs")
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await until(lambda: gate.running["ana"] == 0, "it is stopped")
        assert engine.statistics(ANA).cancelled == 1
        await until(lambda: engine.registry.seats.all.look().taken == 0, "its place is free")

    async def test_closing_stops_what_runs(self, memory: OpenStore) -> None:
        engine = ExecutionEngine(memory, DirectCore(), core_grace_s=0)
        gate = gated(engine)
        call = asyncio.ensure_future(engine.run(ANA, "gate"))
        await until(lambda: gate.running["ana"] == 1, "it runs")
        await engine.close()
        with pytest.raises(Unavailable, match="closed"):
            await call

    @pytest.mark.parametrize(
        "options", [{"timeout_s": 0}, {"places": 0}, {"memory_soft_bytes": 0}, {"sessions_max": 0}], ids=str
    )
    def test_options_without_meaning_are_refused(self, memory_url: str, options: Any) -> None:
        with pytest.raises(InvalidInput):
            ExecutionEngine(memory_url, DirectCore(), **options)


@pytest.fixture
def memory_url() -> str:
    return "memory:"


class TestIsolation:
    async def test_an_object_that_two_users_share_is_found(self, engine: ExecutionEngine) -> None:
        class Stateful:
            async def run(self, ctx: Any, value: Any, emit: Any) -> Any: ...

        shared = Stateful()
        engine.registry.register(ANA, "mine", shared)
        assert engine.isolation().is_isolated
        engine.registry.register(BEN, "also-mine", shared)
        status = engine.isolation()
        assert not status.is_isolated
        assert "agent also-mine is the same object as agent mine of user ana" in status.violations[0]

    async def test_a_call_with_anothers_context_is_found(self, engine: ExecutionEngine) -> None:
        gate = gated(engine)
        call = asyncio.ensure_future(engine.run(ANA, "gate"))
        await until(lambda: gate.running["ana"] == 1, "it runs")
        assert engine.isolation().is_isolated
        (under_way,) = engine.registry.session(ANA).calls.values()
        right, under_way.context = under_way.context, BEN
        assert engine.isolation().violations == ("user ana of acme: a call carries the context of user ben of acme",)
        under_way.context = right
        gate.open.set()
        await call

    async def test_a_call_whose_context_was_cleaned_up_is_found(self, engine: ExecutionEngine) -> None:
        gate = gated(engine)
        mine = context("ana")
        call = asyncio.ensure_future(engine.run(mine, "gate"))
        await until(lambda: gate.running["ana"] == 1, "it runs")
        await mine.cleanup()
        assert "1 calls carry a context that was cleaned up" in engine.isolation().violations[0]
        gate.open.set()
        with pytest.raises(ContextClosed):  # it may tell nothing any more
            await call
        assert engine.isolation().is_isolated


def test_figures_are_frozen(memory_url: str) -> None:
    async def look(make: Callable[[], Any]) -> None:
        async with make() as engine:
            figures = engine.statistics()
            with pytest.raises(AttributeError):
                figures.started = 7

    asyncio.run(look(lambda: ExecutionEngine(memory_url, DirectCore())))
