"""Tools on the loop and in threads: admission, types, bounds, rows and keys."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from holdfast import (
    Budget,
    BudgetExceeded,
    Conflict,
    DeadlineExceeded,
    ErrorType,
    Fenced,
    InvalidDefinition,
    InvalidInput,
    NotFound,
    Rejected,
    Tool,
    ToolCall,
    ToolDispatcher,
    ToolFailed,
    Unavailable,
    UserExecutionContext,
    WrongContext,
    open_store,
    tool,
)
from holdfast.agents.tools.dispatcher import BoundTools
from holdfast.agents.tools.rules import GRACE_S
from holdfast.clock import system_time_s
from holdfast.testing import VirtualClock
from tests.agents.tools.shed import Ticket, find_ticket, whose

ANA = UserExecutionContext(user="ana", run="run-1", scopes=frozenset({"tickets:read"}))
BOB = UserExecutionContext(user="bob")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def tools(clock: VirtualClock) -> AsyncIterator[ToolDispatcher]:
    store = open_store("memory://", clock=clock)
    dispatcher = ToolDispatcher([find_ticket, whose], store=store, clock=clock)
    yield dispatcher
    await dispatcher.close()
    await store.close()


async def rows(tools: ToolDispatcher, context: UserExecutionContext = ANA) -> list[tuple[str, str]]:
    page, _ = await tools.calls(context)
    return [(call.tool, call.outcome) for call in page]


class TestAdmission:
    async def test_it_gives_a_value_of_the_declared_type(self, tools: ToolDispatcher) -> None:
        assert await tools.call(ANA, "find_ticket", {"number": 7}) == Ticket(7, "ticket 7")
        (call,), _ = await tools.calls(ANA)
        assert (call.tool, call.outcome, call.arguments, call.run) == ("find_ticket", "done", {"number": 7}, "run-1")

    async def test_a_tool_beyond_the_scopes_is_refused_and_on_record(self, tools: ToolDispatcher) -> None:
        with pytest.raises(Rejected, match=r"expected the scope 'tickets:read', saw \[\]; he may call: whose"):
            await tools.call(BOB, "find_ticket", {"number": 7})
        assert await rows(tools, BOB) == [("find_ticket", "refused")]
        assert await rows(tools, ANA) == []

    async def test_an_unknown_tool_names_only_what_he_may_call(self, tools: ToolDispatcher) -> None:
        with pytest.raises(NotFound, match=r"he may call: whose$"):
            await tools.call(BOB, "drop_tables")
        assert await rows(tools, BOB) == [("drop_tables", "refused")]

    async def test_a_narrowed_set_of_tools_hides_the_others(self, tools: ToolDispatcher) -> None:
        mine = tools.bound(ANA, names=["whose"])
        assert isinstance(mine, BoundTools)
        assert [each["name"] for each in mine.described()] == ["whose"]
        assert await mine.call("whose") == "ana"
        with pytest.raises(NotFound):
            await mine.call("find_ticket", number=7)

    async def test_nobody_can_say_he_is_somebody_else(self, tools: ToolDispatcher) -> None:
        with pytest.raises(InvalidInput, match="context"):
            await tools.call(BOB, "whose", {"context": {"user": "ana"}})
        assert await tools.call(BOB, "whose") == "bob"
        with pytest.raises(WrongContext):
            await tools.call("bob", "whose")  # type: ignore[arg-type]

    @pytest.mark.parametrize("arguments", [{}, {"number": "7"}, {"number": 0}, {"number": 7, "more": 1}])
    async def test_arguments_that_do_not_fit_are_refused(
        self, tools: ToolDispatcher, arguments: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidInput, match="arguments of tool find_ticket"):
            await tools.call(ANA, "find_ticket", arguments)
        assert await rows(tools) == [("find_ticket", "refused")]

    async def test_each_call_spends_one_of_the_budget(self, tools: ToolDispatcher) -> None:
        context = replace(ANA, budget=Budget(calls=1))
        await tools.call(context, "whose")
        with pytest.raises(BudgetExceeded):
            await tools.call(context, "whose")
        assert sorted(await rows(tools)) == [("whose", "done"), ("whose", "refused")]

    async def test_models_are_shown_a_schema(self, tools: ToolDispatcher) -> None:
        assert tools.described(BOB) == [
            {
                "name": "whose",
                "description": "",
                "parameters": {
                    "type": "object", "properties": {}, "required": [], "additionalProperties": False
                },
            }
        ]  # fmt: skip
        shown = {each["name"]: each for each in tools.described(ANA)}["find_ticket"]
        assert shown["description"] == "The ticket of this number."
        number = shown["parameters"]["properties"]["number"]
        assert number == {"type": "integer", "minimum": 1, "description": "the ticket's number"}

    async def test_a_check_may_refuse_what_makes_no_sense(self, tools: ToolDispatcher) -> None:
        def check(first: int, last: int) -> None:
            if first > last:
                raise ValueError(f"first {first} is after last {last}")

        @tool(check=check)
        async def between(first: int, last: int) -> int:
            return last - first

        tools.add(between)
        assert await tools.call(ANA, "between", {"first": 1, "last": 3}) == 2
        with pytest.raises(InvalidInput, match="first 3 is after last 1"):
            await tools.call(ANA, "between", {"first": 3, "last": 1})


class TestBounds:
    async def test_one_that_takes_too_long_is_cancelled(self, tools: ToolDispatcher) -> None:
        ended = asyncio.Event()

        @tool(timeout_s=0.02)
        async def slow() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        tools.add(slow)
        with pytest.raises(ToolFailed, match=r"longer than 0.02 s") as caught:
            await tools.call(ANA, "slow")
        assert caught.value.error_type is ErrorType.TIMEOUT
        assert ended.is_set()
        assert await rows(tools) == [("slow", "failed")]

    async def test_one_that_swallows_its_cancellation_is_left_behind_and_counted(self, tools: ToolDispatcher) -> None:
        go = asyncio.Event()

        @tool(timeout_s=0.01)
        async def stubborn() -> None:
            while not go.is_set():
                try:
                    await go.wait()
                except asyncio.CancelledError:
                    continue

        tools.add(stubborn)
        for _ in range(10):
            with pytest.raises(ToolFailed):
                await tools.call(ANA, "stubborn")
        assert tools.stuck() == {"stubborn": 10}
        with pytest.raises(Unavailable, match="10 calls of it hang"):
            await tools.call(ANA, "stubborn")
        assert await tools.call(ANA, "whose") == "ana"
        go.set()
        async with asyncio.timeout(5):
            while tools.stuck():  # noqa: ASYNC110 - the tasks end one by one
                await asyncio.sleep(0)

    async def test_a_thread_that_does_not_return_costs_a_thread(self, tools: ToolDispatcher) -> None:
        go, back = threading.Event(), threading.Event()

        @tool(runs="thread", timeout_s=1.0)  # time for the thread to begin, however busy the machine
        def hangs() -> None:
            go.wait(30)
            back.set()

        tools.add(hangs)
        with pytest.raises(ToolFailed, match="longer than"):
            await tools.call(ANA, "hangs")
        assert tools.stuck() == {"hangs": 1}
        go.set()
        async with asyncio.timeout(5):
            while tools.stuck():  # noqa: ASYNC110 - the thread tells the loop when it is back
                await asyncio.sleep(0.001)
        assert back.is_set()

    async def test_the_callers_deadline_is_the_tools_too(self, tools: ToolDispatcher) -> None:
        late = replace(ANA, deadline_s=system_time_s() - 1)
        with pytest.raises(DeadlineExceeded):
            await tools.call(late, "whose")

    async def test_what_a_tool_raises_is_told_in_bounds(self, tools: ToolDispatcher) -> None:
        @tool
        async def raises() -> None:
            raise LookupError("\x1b[2Jno such\nthing " + "x" * 10_000)

        tools.add(raises)
        with pytest.raises(ToolFailed, match=r"raised LookupError: \[2Jno such thing x+…") as caught:
            await tools.call(ANA, "raises")
        assert len(caught.value.message) < 600
        assert "\x1b" not in caught.value.message
        assert caught.value.raised == "LookupError"

    async def test_outputs_that_do_not_fit_are_failures(self, tools: ToolDispatcher) -> None:
        @tool
        async def wrong() -> int:
            return "seven"  # type: ignore[return-value]

        @tool(output_bytes_max=100)
        async def long() -> str:
            return "x" * 1000

        tools.add(wrong)
        tools.add(long)
        for name in ("wrong", "long"):
            with pytest.raises(ToolFailed, match=f"output of tool {name}") as caught:
                await tools.call(ANA, name)
            assert caught.value.error_type is ErrorType.VALIDATION

    async def test_a_cancelled_caller_leaves_a_row_that_says_so(self, tools: ToolDispatcher) -> None:
        began = asyncio.Event()

        @tool
        async def waits() -> None:
            began.set()
            await asyncio.Event().wait()

        tools.add(waits)
        caller = asyncio.ensure_future(tools.call(ANA, "waits"))
        await began.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        (call,), _ = await tools.calls(ANA)
        assert (call.outcome, call.error) == ("failed", "was cancelled")

    async def test_who_is_under_way_as_it_closes_is_told_so(self, clock: VirtualClock) -> None:
        began = asyncio.Event()

        @tool
        async def waits() -> None:
            began.set()
            await asyncio.Event().wait()

        store = open_store("memory://", clock=clock)
        tools = ToolDispatcher([waits], store=store, clock=clock)
        caller = asyncio.ensure_future(tools.call(ANA, "waits"))
        await began.wait()
        await tools.close()
        with pytest.raises(Unavailable, match="closed while it ran"):
            await caller
        with pytest.raises(Unavailable, match="make another one"):
            await tools.call(ANA, "waits")
        await store.close()

    async def test_a_flood_of_one_user_leaves_places_for_another(self, clock: VirtualClock) -> None:
        go = asyncio.Event()

        @tool
        async def waits() -> str:
            await go.wait()
            return "done"

        store = open_store("memory://", clock=clock)
        tools = ToolDispatcher([waits, whose], store=store, calls_max=4, clock=clock)
        flood = [asyncio.ensure_future(tools.call(ANA, "waits")) for _ in range(10)]
        async with asyncio.timeout(5):
            assert await tools.call(BOB, "whose") == "bob"
        go.set()
        assert await asyncio.gather(*flood) == ["done"] * 10
        await tools.close()
        await store.close()


class TestKeys:
    async def test_a_call_with_a_key_is_done_once(self, tools: ToolDispatcher) -> None:
        keys = list[str]()

        @tool
        async def pay(cents: int, *, key: str) -> Ticket:
            keys.append(key)
            return Ticket(cents, "paid")

        tools.add(pay)
        for _ in range(3):
            assert await tools.call(ANA, "pay", {"cents": 5}, key="order-1") == Ticket(5, "paid")
        assert keys == ["order-1"]
        await tools.call(BOB, "pay", {"cents": 5}, key="order-1")
        assert keys == ["order-1"] * 2
        with pytest.raises(Conflict, match="expected the arguments of the earlier call"):
            await tools.call(ANA, "pay", {"cents": 6}, key="order-1")

    async def test_of_many_at_once_with_one_key_one_runs(self, tools: ToolDispatcher) -> None:
        runs, go = list[int](), asyncio.Event()

        @tool
        async def pay(cents: int) -> int:
            runs.append(cents)
            await go.wait()
            return cents

        tools.add(pay)
        calls = [asyncio.ensure_future(tools.call(ANA, "pay", {"cents": 5}, key="k")) for _ in range(20)]
        done, _ = await asyncio.wait(calls, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        go.set()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert runs == [5]
        assert [answer for answer in answers if not isinstance(answer, Unavailable)] == [5]
        assert all("under way" in str(answer) for answer in answers if isinstance(answer, Unavailable))
        assert await tools.call(ANA, "pay", {"cents": 5}, key="k") == 5
        assert done

    async def test_one_that_failed_is_run_again_under_its_key(self, tools: ToolDispatcher) -> None:
        answers = iter([OSError("away"), 7])

        @tool
        async def flaky() -> int:
            answer = next(answers)
            if isinstance(answer, int):
                return answer
            raise answer

        tools.add(flaky)
        with pytest.raises(ToolFailed):
            await tools.call(ANA, "flaky", key="k")
        assert await tools.call(ANA, "flaky", key="k") == 7
        (call,), _ = await tools.calls(ANA)
        assert (call.attempts, call.outcome) == (2, "done")

    async def test_one_whose_process_died_is_run_again_when_its_time_is_over(
        self, tools: ToolDispatcher, clock: VirtualClock
    ) -> None:
        go, runs = asyncio.Event(), list[int]()

        @tool(timeout_s=30)
        async def pay() -> int:
            runs.append(1)
            if len(runs) == 1:
                await go.wait()
            return len(runs)

        tools.add(pay)
        lost = asyncio.ensure_future(tools.call(ANA, "pay", key="k"))
        while not runs:  # noqa: ASYNC110 - it is under way in this loop
            await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="under way") as caught:
            await tools.call(ANA, "pay", key="k")
        assert caught.value.retry_after_s == pytest.approx(30 + GRACE_S, abs=0.1)
        clock.advance_to(clock.time_s() + 30 + GRACE_S)
        assert await tools.call(ANA, "pay", key="k") == 2
        go.set()
        with pytest.raises(Fenced, match="taken for dead"):
            await lost
        assert await tools.call(ANA, "pay", key="k") == 2


class TestRows:
    async def test_a_row_is_written_before_the_tool_runs_and_told(self, clock: VirtualClock) -> None:
        told = list[tuple[str, ToolCall]]()
        seen = list[str]()
        store = open_store("memory://", clock=clock)
        tools = ToolDispatcher(
            store=store, clock=clock, on_call=lambda context, call: told.append((context.user, call))
        )

        @tool
        async def looks() -> None:
            (call,), _ = await tools.calls(ANA)
            seen.append(call.outcome)

        tools.add(looks)
        await tools.call(ANA, "looks")
        assert seen == ["began"]
        assert [(user, call.outcome) for user, call in told] == [("ana", "began"), ("ana", "done")]
        await tools.close()
        await store.close()

    async def test_hidden_arguments_are_masked_and_long_ones_cut(self, tools: ToolDispatcher) -> None:
        @tool(hidden=("password",))
        async def log_in(name: str, password: str) -> bool:
            return True

        tools.add(log_in)
        await tools.call(ANA, "log_in", {"name": "n" * 2000, "password": "s3cret"})
        (call,), _ = await tools.calls(ANA)
        assert call.arguments["password"] == "***"
        assert call.arguments["name"].endswith("(2000 signs)")
        assert len(call.digest) == 32

    async def test_rows_are_the_users_own_and_can_be_forgotten(self, tools: ToolDispatcher) -> None:
        for number in range(5):
            await tools.call(replace(ANA, run=f"run-{number % 2}"), "whose", key=str(number))
        await tools.call(BOB, "whose")
        odd, _ = await tools.calls(ANA, run="run-1")
        assert len(odd) == 2
        first, more = await tools.calls(ANA, limit=3)
        rest, end = await tools.calls(ANA, after=more, limit=3)
        assert (len(first), len(rest), end) == (3, 2, None)
        await tools.forget(BOB, odd)
        assert len((await tools.calls(ANA))[0]) == 5
        await tools.forget(ANA, odd)
        assert len((await tools.calls(ANA))[0]) == 3
        assert await rows(tools, BOB) == [("whose", "done")]


class TestDefinitions:
    def test_what_has_no_meaning_is_refused_when_declared(self) -> None:
        async def untyped(number) -> None: ...  # type: ignore[no-untyped-def]

        async def variadic(*numbers: int) -> None: ...

        async def opaque(handle: threading.Thread) -> None: ...

        async def well(number: int) -> None: ...

        def local(number: int) -> None: ...

        for function, options, why in (
            (untyped, {}, "annotation for each parameter"),
            (variadic, {}, "given by name"),
            (opaque, {}, "JSON can hold"),
            (well, {"timeout_s": 0}, "timeout_s above 0"),
            (well, {"name": "no spaces please"}, "a name of 1 to 64"),
            (well, {"memory_mib_max": 1}, "memory_mib_max of at least"),
            (well, {"runs": "thread"}, "plain function"),
            (well, {"tiemout_s": 3}, "tiemout_s"),
            (local, {"runs": "loop"}, "coroutine function"),
            (local, {}, "top of a module"),
        ):
            with pytest.raises(InvalidDefinition, match=why):
                tool(function, **options)

    async def test_two_tools_of_one_name_are_refused(self, tools: ToolDispatcher) -> None:
        async def other() -> None: ...

        with pytest.raises(InvalidDefinition, match="find_ticket"):
            tools.add(tool(other, name="find_ticket"))
        tools.add(find_ticket)
        with pytest.raises(InvalidDefinition, match="decorate"):
            tools.add(other)  # type: ignore[arg-type]

    async def test_a_tool_is_still_its_function(self) -> None:
        assert isinstance(find_ticket, Tool)
        assert await find_ticket(3) == Ticket(3, "ticket 3")
