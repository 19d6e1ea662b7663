"""Events of calls: in order, with the context's ids, bounded; and a receiver that fails or is away harms nobody."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import (
    Agent,
    AgentCall,
    AgentEvent,
    AgentExecutionCore,
    InvalidInput,
    Rejected,
    Unavailable,
)
from holdfast.agents.events import AWAY_S, EVENTS_MAX, QUEUE_MAX
from tests.agents.bodies import ANA, Seen, answer, fails, question, until


class Desk:
    """Tools of which one fails."""

    async def call(self, name: str, /, **arguments: Any) -> Any:
        await asyncio.sleep(0)
        if name == "broken":
            raise OSError("no such tool today")
        return arguments


async def works(rounds: int, call: AgentCall) -> str:
    """Tells of its progress and uses tools, with others in between."""
    for number in range(rounds):
        call.progress("working", number=number)
        await asyncio.sleep(0)
        await call.tool("search", number=number)
    return "done"


class TestOrder:
    @pytest.mark.parametrize("agents", [4, 40])
    async def test_each_agents_events_come_in_order(self, core: AgentExecutionCore, agents: int) -> None:
        """Side by side, to one receiver that is slow by chance: those of one call never overtake each other."""
        seen = Seen()

        async def receive(event: AgentEvent) -> None:
            await asyncio.sleep(0.001 * (event.token % 3))
            seen(event)

        calls = (core.execute(ANA, Agent(works, name=f"a{n}"), 5, emit=receive, tools=Desk()) for n in range(agents))
        assert await asyncio.gather(*calls) == ["done"] * agents
        for n in range(agents):
            events = [event for event in seen.events if event.agent == f"a{n}"]
            assert [event.kind for event in events] == ["started", *["progress", "tool", "tool"] * 5, "finished"]
            assert [event.number for event in events] == list(range(1, 18))
            assert {(event.user, event.tenant, event.thread, event.request, event.trace) for event in events} == {
                ("ana", "main", "t-1", "r-1", "tr-1")
            }
            assert len({(event.call, event.token) for event in events}) == 1
        assert len({event.call for event in seen.events}) == agents
        assert core.delivery.delivered == agents * 17

    async def test_a_failure_is_told_last_with_its_words(self, core: AgentExecutionCore) -> None:
        seen = Seen()
        with pytest.raises(ConnectionError):
            await core.execute(ANA, Agent(fails), emit=seen)
        assert seen.kinds() == ["started", "failed"]
        assert seen.events[-1].facts["error"] == "ConnectionError"
        assert seen.events[-1].facts["message"] == "the model is away"

    async def test_a_tool_that_fails_is_told_and_raises(self, core: AgentExecutionCore) -> None:
        async def uses(_: Any, call: AgentCall) -> None:
            await call.tool("broken")

        seen = Seen()
        with pytest.raises(OSError, match="no such tool today"):
            await core.execute(ANA, Agent(uses), emit=seen, tools=Desk())
        assert [event.facts.get("phase") for event in seen.events] == [None, "began", "failed", None]

    async def test_a_tool_needs_tools(self, core: AgentExecutionCore) -> None:
        with pytest.raises(InvalidInput, match="was given no tools"):
            await core.execute(ANA, Agent(works), 1)

    async def test_a_tools_result_behind_the_fence_is_refused(self, core: AgentExecutionCore) -> None:
        calls: list[AgentCall] = []

        class Slow:
            async def call(self, name: str, /, **arguments: Any) -> str:
                calls[0].fence("it took too long")
                return "late"

        async def uses(_: Any, call: AgentCall) -> Any:
            calls.append(call)
            return await call.tool("slow")

        with pytest.raises(Unavailable, match="it was given up: it took too long"):
            await core.execute(ANA, Agent(uses), tools=Slow())
        assert calls[0].refused == 1

    async def test_tokens_grow_with_each_call_and_go_with_writes(self, core: AgentExecutionCore) -> None:
        """A receiver that remembers the largest token refuses the writes of whoever was before."""
        tokens: list[int] = []

        async def write(text: str, *, token: int) -> str:
            tokens.append(token)
            return text

        async def writes(_: Any, call: AgentCall) -> str:
            written: str = await call.write(write, "kept")
            return written

        for _ in range(3):
            assert await core.execute(ANA, Agent(writes)) == "kept"
        assert tokens == sorted(set(tokens))
        async with AgentExecutionCore(watches_loop=False) as later:
            await later.execute(ANA, Agent(writes))
        assert tokens[3] > tokens[2]


class TestBounds:
    async def test_facts_beyond_the_bound_are_a_typed_error(self, core: AgentExecutionCore) -> None:
        async def shouts(_: Any, call: AgentCall) -> None:
            call.progress("x" * 20_000)

        with pytest.raises(InvalidInput, match="progress of agent shouts: expected at most 16384 bytes"):
            await core.execute(ANA, Agent(shouts), emit=Seen())

    async def test_events_beyond_the_bound_are_a_typed_error(self, core: AgentExecutionCore) -> None:
        async def floods(_: Any, call: AgentCall) -> None:
            while True:
                call.progress()
                await asyncio.sleep(0)

        seen = Seen()
        with pytest.raises(Rejected, match=f"at most {EVENTS_MAX} events"):
            await core.execute(ANA, Agent(floods), emit=seen)
        assert seen.kinds()[-1] == "failed"
        assert len(seen.events) == EVENTS_MAX + 1

    async def test_a_slow_receiver_costs_progress_and_no_memory(self, core: AgentExecutionCore) -> None:
        """It takes one event and no more until the agent is done: of the 5,000 it misses the oldest that tell of
        progress, and the first and last come."""
        go, seen = asyncio.Event(), Seen()

        async def receive(event: AgentEvent) -> None:
            await go.wait()
            seen(event)

        async def floods(_: Any, call: AgentCall) -> str:
            for number in range(5_000):
                call.progress(number=number)
            go.set()
            return "done"

        assert await core.execute(ANA, Agent(floods), emit=receive) == "done"
        assert (seen.events[0].kind, seen.events[-1].kind) == ("started", "finished")
        assert len(seen.events) in (QUEUE_MAX + 1, QUEUE_MAX + 2), "those in the queue, and one or two in hand"
        assert core.delivery.dropped == 5_002 - len(seen.events)
        numbers = [event.number for event in seen.events]
        assert numbers == sorted(numbers)


class TestReceivers:
    async def test_one_that_raises_harms_nobody_and_is_counted(self) -> None:
        fallen: list[AgentEvent] = []

        def refuse(event: AgentEvent) -> None:
            raise RuntimeError("not now")

        async with AgentExecutionCore(fallback=fallen.append, watches_loop=False) as core:
            assert await core.execute(ANA, Agent(works), 3, emit=refuse, tools=Desk()) == "done"
            assert [event.number for event in fallen] == list(range(1, 12))
            assert core.delivery.undelivered == 11

    async def test_one_that_hangs_does_not_hold_its_agents(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The call ends after the time that last events are given; its events fall back."""
        fallen: list[AgentEvent] = []

        async def hang(event: AgentEvent) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr("holdfast.agents.events.EMIT_TIMEOUT_S", 0.1)
        async with AgentExecutionCore(fallback=fallen.append, watches_loop=False) as core:
            assert await core.execute(ANA, Agent(answer), question(), emit=hang) is not None
            await until(lambda: len(fallen) == 2, "both events fell back")

    async def test_a_fallback_that_raises_is_no_end(self) -> None:
        def refuse(event: AgentEvent) -> None:
            raise RuntimeError("not now")

        async with AgentExecutionCore(fallback=refuse, watches_loop=False) as core:
            assert await core.execute(ANA, Agent(answer), question(), emit=refuse) is not None

    async def test_one_that_is_back_is_told_again(self, core: AgentExecutionCore) -> None:
        """It is left alone for a second, and then asked anew."""
        seen, is_away = Seen(), True

        def receive(event: AgentEvent) -> None:
            if is_away:
                raise ConnectionError("the socket is closed")
            seen(event)

        go = asyncio.Event()

        async def two_parts(_: Any, call: AgentCall) -> str:
            await go.wait()
            call.progress("second part")
            return "done"

        async with asyncio.TaskGroup() as group:
            task = group.create_task(core.execute(ANA, Agent(two_parts), emit=receive))
            await until(lambda: core.delivery.undelivered == 1, "the first is refused")
            is_away = False
            await asyncio.sleep(AWAY_S)
            go.set()
        assert await task == "done"
        assert seen.kinds() == ["progress", "finished"]
