"""One core, many calls: SPEC U2 with its figures and ten times them, and that no call hurts another."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from holdfast import (
    Agent,
    AgentCall,
    AgentDead,
    AgentExecutionCore,
    AgentType,
    BreakerOpen,
    Budget,
    BudgetExceeded,
    BulkheadFull,
    DeadlineExceeded,
    InvalidInput,
    Unavailable,
    UserExecutionContext,
    WorkflowError,
    WrongContext,
)
from holdfast.clock import system_time_s
from tests.agents.bodies import (
    ANA,
    BEN,
    PATIENT,
    QUICK,
    Deafest,
    Seen,
    Stuck,
    answer,
    brittle,
    deaf,
    fails,
    hangs,
    nap,
    question,
    until,
)


def named(number: int) -> UserExecutionContext:
    """The context of one of many users."""
    return UserExecutionContext(user=f"user-{number}", request=f"r-{number}", run=f"run-{number}")


class TestIsolation:
    @pytest.mark.parametrize("agents", [5, 50])
    async def test_agents_at_once_see_only_their_own(self, core: AgentExecutionCore, agents: int) -> None:
        """Each remembers what it was given, meets all others in the middle, and tells in whose name it ran."""
        met = asyncio.Barrier(agents)
        seen = Seen()

        async def tell(number: int, call: AgentCall) -> dict[str, Any]:
            await met.wait()
            call.progress(number=number)
            await met.wait()
            return {"number": number, "user": call.context.user, "run": call.context.run}

        results = await asyncio.gather(
            *(core.execute(named(n), Agent(tell, name=f"agent-{n}"), n, emit=seen) for n in range(agents))
        )
        assert results == [{"number": n, "user": f"user-{n}", "run": f"run-{n}"} for n in range(agents)]
        for event in seen.events:
            number = event.agent.removeprefix("agent-")
            assert (event.user, event.run, event.request) == (f"user-{number}", f"run-{number}", f"r-{number}")
            assert event.facts.get("number", int(number)) == int(number)

    @pytest.mark.parametrize("each", [2, 20])
    async def test_healthy_agents_do_not_notice_the_dead_ones(self, core: AgentExecutionCore, each: int) -> None:
        """Healthy, failing, hanging, deaf and stuck ones at once: each gets what is his, and those that end by
        themselves are done before the first of the others is given up. They have time enough: a machine that stands
        still for a second must not make a failure of them that is none."""
        stuck = Stuck()
        given_up = AgentType(name="given-up", timeout_s=4.0, grace_s=0.2)
        kinds: dict[str, Any] = {"well": answer, "fails": fails, "hangs": hangs, "deaf": deaf, "stuck": stuck}
        agents = [
            Agent(body, name=f"{kind}-{n}", type=PATIENT if kind in ("well", "fails") else given_up)
            for n in range(each)
            for kind, body in kinds.items()
        ]
        ended: list[str] = []

        async def one(agent: Agent) -> object:
            try:
                return await core.execute(ANA, agent, question())
            finally:
                ended.append(agent.name.partition("-")[0])

        results = await asyncio.gather(*(one(agent) for agent in agents), return_exceptions=True)
        by_kind = {kind: results[place :: len(kinds)] for place, kind in enumerate(kinds)}
        assert {type(each).__name__ for each in by_kind["well"]} == {"Answer"}
        assert {type(each) for each in by_kind["fails"]} == {ConnectionError}
        assert set(ended[: 2 * each]) == {"well", "fails"}
        for kind, state in (("hangs", "slow"), ("deaf", "dead"), ("stuck", "thread-stuck")):
            assert {type(error) for error in by_kind[kind]} == {DeadlineExceeded}
            assert {error.state for error in by_kind[kind]} == {state}  # type: ignore[union-attr]
        view = core.look("stuck-0")
        assert view is not None
        assert (view.state, view.strays) == ("thread-stuck", 1)
        assert "Stuck.run" in view.where
        stuck.go.set()
        await until(lambda: all(not view.strays for view in core.agents()), "the stuck ones come back")

    async def test_an_agent_that_exits_does_not_end_the_program(self, core: AgentExecutionCore) -> None:
        async def leaves(_: Any) -> None:
            raise SystemExit(3)

        def leaves_its_thread(_: Any) -> None:
            raise SystemExit(3)

        def stops(_: Any) -> None:
            raise StopIteration

        for body in (leaves, leaves_its_thread, stops):
            with pytest.raises(WorkflowError, match="which an agent may not"):
                await core.execute(ANA, Agent(body))

    async def test_an_agent_that_awaits_what_was_cancelled_fails_alone(self, core: AgentExecutionCore) -> None:
        """Its caller is told of a failure, and is not cancelled himself."""

        async def awaits_a_corpse(_: Any) -> None:
            corpse = asyncio.get_running_loop().create_future()
            corpse.cancel()
            await corpse

        with pytest.raises(WorkflowError, match="waited for something that was cancelled"):
            await core.execute(ANA, Agent(awaits_a_corpse))

    @pytest.mark.parametrize("wrong", [None, "ana", {"user": "ana"}, object()])
    async def test_anything_but_a_context_is_refused(self, core: AgentExecutionCore, wrong: Any) -> None:
        with pytest.raises(WrongContext, match="must be UserExecutionContext"):
            await core.execute(wrong, Agent(answer), question())

    async def test_anything_but_an_agent_is_refused(self, core: AgentExecutionCore) -> None:
        with pytest.raises(InvalidInput, match="wrap it"):
            await core.execute(ANA, answer, question())  # type: ignore[arg-type]


class TestTimeouts:
    async def test_fast_slow_and_over(self, core: AgentExecutionCore) -> None:
        """0 s is fast, 0.3 s is slow, and a minute is over: told as such, and given up in time."""
        agent = Agent(nap, name="napper", type=AgentType(name="patient", timeout_s=30.0, slow_s=0.05))
        assert await core.execute(ANA, agent, 0.0) == "ana"
        under_way = asyncio.gather(core.execute(ANA, agent, 0.3))
        await until(lambda: _state(core, "napper") == "slow", "it counts as slow")
        assert await under_way == ["ana"]
        agent = Agent(nap, name="napper", type=QUICK)
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(DeadlineExceeded, match=r"agent napper: not done within [\d.]+ s \(slow, in nap") as caught:
            await core.execute(ANA, agent, 60.0)
        assert loop.time() - began < 10
        assert caught.value.why == "timeout"

    async def test_the_callers_deadline_is_kept(self, core: AgentExecutionCore) -> None:
        context = UserExecutionContext(user="ana", deadline_s=system_time_s() + 1.0)
        with pytest.raises(DeadlineExceeded) as caught:
            await core.execute(context, Agent(nap, type=PATIENT), 60.0)
        assert caught.value.why == "deadline"

    async def test_a_caller_in_a_hurry_proves_nothing_of_the_agent(self, core: AgentExecutionCore) -> None:
        for _ in range(5):
            context = UserExecutionContext(user="ana", deadline_s=system_time_s() + 0.2)
            with pytest.raises(DeadlineExceeded):
                await core.execute(context, Agent(nap, type=PATIENT), 60.0)
        view = core.look("nap")
        assert view is not None
        assert view.calls >= 3, "as many as open a breaker"
        assert view.breaker == "closed"

    async def test_a_deadline_that_is_over_calls_nothing(self, core: AgentExecutionCore) -> None:
        context = UserExecutionContext(user="ana", deadline_s=system_time_s() - 1)
        with pytest.raises(DeadlineExceeded):
            await core.execute(context, Agent(nap), 0.0)
        view = core.look("nap")
        assert view is not None
        assert view.calls == 0

    async def test_one_call_may_have_less_than_its_type(self, core: AgentExecutionCore) -> None:
        with pytest.raises(DeadlineExceeded, match="not done within"):
            await core.execute(ANA, Agent(nap, type=PATIENT), 60.0, timeout_s=0.05)

    async def test_a_caller_who_goes_away_ends_the_call(self, core: AgentExecutionCore) -> None:
        ended: list[str] = []

        async def body(_: Any) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cleaned up")

        async with asyncio.TaskGroup() as group:
            task = group.create_task(core.execute(ANA, Agent(body)))
            await until(lambda: _running(core, "body") == 1, "it runs")
            task.cancel()
        assert ended == ["cleaned up"]
        assert _running(core, "body") == 0


class TestBreaker:
    async def test_it_opens_refuses_and_comes_back(self, core: AgentExecutionCore) -> None:
        """Closed, open, half-open, closed; and the time that it took is measured against the objective."""
        is_well = False

        async def sometimes(_: Any) -> str:
            if not is_well:
                raise ConnectionError("away")
            return "well"

        agent = brittle("sometimes", sometimes, open_s=0.2)
        for _ in range(3):
            with pytest.raises(ConnectionError):
                await core.execute(ANA, agent)
        with pytest.raises(BreakerOpen, match="sometimes"):
            await core.execute(ANA, agent)
        assert await core.execute(ANA, Agent(answer), question()) is not None, "another agent is called"
        is_well = True
        results: list[str] = []

        async def ask() -> None:
            while not results:
                try:
                    results.append(await core.execute(ANA, agent))
                except BreakerOpen:
                    await asyncio.sleep(0.01)

        await ask()
        view = core.look("sometimes")
        assert view is not None
        assert view.breaker == "closed"
        assert view.recovered_s_max is not None
        assert view.keeps_objective

    async def test_a_refusal_tells_nothing_of_another_users_call(self, core: AgentExecutionCore) -> None:
        async def tells_secrets(_: Any) -> None:
            raise ConnectionError("ana's secret is 42")

        agent = brittle("teller", tells_secrets)
        for _ in range(3):
            with pytest.raises(ConnectionError):
                await core.execute(ANA, agent)
        with pytest.raises(BreakerOpen) as caught:
            await core.execute(BEN, agent)
        assert "secret" not in str(caught.value) + repr(caught.value.facts)
        assert "ana" not in str(caught.value)

    async def test_what_never_ran_does_not_count(self, core: AgentExecutionCore) -> None:
        for _ in range(10):
            with pytest.raises(InvalidInput):
                await core.execute(ANA, Agent(answer, name="strict"), {"wrong": 1})
        assert await core.execute(ANA, Agent(answer, name="strict"), question()) is not None


class TestPlaces:
    async def test_one_user_cannot_have_all_places_of_an_agent(self, core: AgentExecutionCore) -> None:
        """4 places and a queue of 4: ana's fill her halves and are refused beyond; ben's call begins at once."""
        go = asyncio.Event()
        begun: list[str] = []

        async def waits(_: Any, call: AgentCall) -> str:
            begun.append(call.context.user)
            await go.wait()
            return "done"

        agent = Agent(waits, type=AgentType(name="narrow", places=4, queue_max=4))
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(core.execute(ANA, agent))
            await until(lambda: len(begun) == 2, "ana's half of the places")
            with pytest.raises(BulkheadFull):
                await core.execute(ANA, agent)
            group.create_task(core.execute(BEN, agent))
            await until(lambda: begun[2:] == ["ben"], "ben's call")
            go.set()
        assert len(begun) == 5


class TestBudget:
    async def test_each_call_is_taken_from_the_contexts_budget(self, core: AgentExecutionCore) -> None:
        """A budget that is used up refuses the call before it is made, and is no failure of the agent."""
        budget = Budget(calls=2, tokens=1_000)

        async def uses_tokens(_: Any, call: AgentCall) -> str:
            call.spend(tokens=100, money_usd=0.01)
            return "done"

        context = UserExecutionContext(user="ana", budget=budget)
        for _ in range(2):
            await core.execute(context, Agent(uses_tokens))
        with pytest.raises(BudgetExceeded, match="calls"):
            await core.execute(context, Agent(uses_tokens))
        assert (budget.spent.calls, budget.spent.tokens) == (2, 200)
        view = core.look("uses_tokens")
        assert view is not None
        assert (view.calls, view.failed) == (2, 0)


async def held_after(one_round: Callable[[], Awaitable[None]], rounds: int) -> int:
    """The bytes that are held after so many rounds. The first time fills the windows of the breakers."""
    for _ in range(rounds):
        await one_round()
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


class TestMemory:
    @pytest.mark.parametrize(("rounds", "agents"), [(3, 4), (30, 40)])
    async def test_rounds_of_agents_leave_nothing_behind(
        self, core: AgentExecutionCore, rounds: int, agents: int
    ) -> None:
        """What a round holds is given back: some of the agents fail, some are given up."""
        quick = AgentType(name="quick", timeout_s=0.02, grace_s=0.05)

        async def one_round() -> None:
            bodies: list[Any] = [answer, fails, hangs, answer]
            calls = [
                core.execute(ANA, Agent(bodies[n % 4], name=f"agent-{n}", type=quick), question("x" * 100_000))
                for n in range(agents)
            ]
            await asyncio.gather(*calls, return_exceptions=True)

        tracemalloc.start()
        try:
            held = [await held_after(one_round, rounds) for _ in range(2)]
        finally:
            tracemalloc.stop()
        kept = held[1] - held[0]
        assert kept < 32 * 1024 + rounds * 20_000, f"{kept} bytes; one call a round would be {rounds * 100_000}"
        assert all(view.running == view.strays == 0 for view in core.agents())


class TestClosing:
    async def test_a_core_that_is_closed_ends_what_runs(self) -> None:
        async with asyncio.TaskGroup() as group:
            async with AgentExecutionCore() as core:
                task = group.create_task(_outcome(core.execute(ANA, Agent(nap, type=PATIENT), 60.0)))
                await until(lambda: _running(core, "nap") == 1, "it runs")
            assert isinstance(await task, Unavailable)

    async def test_the_calls_of_one_user_can_be_given_up(self, core: AgentExecutionCore) -> None:
        """Those of another go on."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_outcome(core.execute(context, Agent(nap, type=PATIENT), 0.3)))
                for context in (ANA, BEN, ANA)
            ]
            await until(lambda: _running(core, "nap") == 3, "all run")
            assert core.give_up(lambda context: context.user == "ana", why="ana is removed") == 2
        results = [task.result() for task in tasks]
        assert results[1] == "ben"
        assert [str(results[place]) for place in (0, 2)] == ["agent nap: it was given up: ana is removed"] * 2

    async def test_it_closes_beside_what_will_not_end(self) -> None:
        """Neither a deaf coroutine nor a stuck thread keeps a core, or the program's loop, from ending."""
        deafest, stuck = Deafest(), Stuck()
        async with AgentExecutionCore(watches_loop=False) as core:
            for body in (deafest, stuck):
                with pytest.raises(DeadlineExceeded):
                    await core.execute(ANA, Agent(body, name=type(body).__name__, type=QUICK))
        deafest.is_free = True
        stuck.go.set()
        await asyncio.sleep(0.05)

    async def test_it_is_used_inside_of_its_block_and_loop_only(self) -> None:
        core = AgentExecutionCore(watches_loop=False)
        with pytest.raises(Unavailable, match="entered in this loop"):
            await core.execute(ANA, Agent(answer), question())
        async with core:
            pass
        with pytest.raises(Unavailable):
            await core.execute(ANA, Agent(answer), question())
        with pytest.raises(Unavailable, match="make another one"):
            await core.__aenter__()


async def _outcome(call: Any) -> object:
    try:
        return await call
    except (AgentDead, Unavailable, DeadlineExceeded) as error:
        return error


def _state(core: AgentExecutionCore, name: str) -> str:
    view = core.look(name)
    return "" if view is None else view.state


def _running(core: AgentExecutionCore, name: str) -> int:
    view = core.look(name)
    return 0 if view is None else view.running
