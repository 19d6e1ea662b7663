"""The one way to call a tool: may he, does it fit, was it done before; then the row, the call, and the row again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from holdfast import codec
from holdfast.agents.threads import DaemonThreads
from holdfast.agents.tools.ledger import Ledger, RowChanged, Ticket, ToolCall, as_earlier
from holdfast.agents.tools.process import run_in_process
from holdfast.agents.tools.rules import ToolFailed, digest_of, judge_earlier, shown, why_refused, words
from holdfast.agents.tools.tool import Tool
from holdfast.clock import Clock, Randomness, SystemClock, system_randomness
from holdfast.context import UserExecutionContext, require_context
from holdfast.errors import (
    DeadlineExceeded,
    ErrorType,
    HoldfastError,
    InvalidDefinition,
    InvalidInput,
    Unavailable,
)
from holdfast.resilience.traffic import Bulkhead, Deadline
from holdfast.store.contract.protocol import Store
from holdfast.tasks import Supervisor

CALLS_MAX = 64
"""How many calls run at once in one dispatcher, unless configured otherwise; more wait, fair to users."""
LAST_WORDS_S = 0.1
"""How long a coroutine that was cancelled for taking too long may take to end before it is left behind."""
STUCK_MAX = 10
"""So many calls of one tool may be left behind; after that it is refused, until some of them end."""

RACES_MAX = 100
"""Bound on re-reads of a key's row: each lost race means that another call moved on."""

OnCall = Callable[[UserExecutionContext, ToolCall], None]


class ToolDispatcher:
    """The tools of an application, for everybody whose scopes allow them. Closes with `await close()`.

    Each call is checked, bounded, and on record in `store` before it begins and when it ended. A call with a `key` is
    done once: a second one with the same arguments gives what the first gave. `on_call` hears of each row after it was
    written.

    Example::

        @tool(scope="tickets:read", timeout_s=5)
        async def find_ticket(number: int) -> Ticket: ...

        tools = ToolDispatcher([find_ticket], store=open_store("sqlite:///bot.db"))
        ticket = await tools.call(context, "find_ticket", {"number": 7})
    """

    def __init__(
        self,
        tools: Iterable[Tool] = (),
        *,
        store: Store,
        calls_max: int = CALLS_MAX,
        on_call: OnCall | None = None,
        clock: Clock | None = None,
        randomness: Randomness | None = None,
    ) -> None:
        self._tools: dict[str, Tool] = {}
        self._ledger = Ledger(store, clock or SystemClock(), randomness or system_randomness())
        self._places = Bulkhead("tools", places=calls_max, queue_max=10 * calls_max)
        self._threads = DaemonThreads("holdfast-tools", threads_max=calls_max)
        self._tasks = Supervisor("tools", on_failure=_nobody_waits)
        self._stuck: dict[str, int] = {}
        self._on_call = on_call
        self._is_closed = False
        for each in tools:
            self.add(each)

    def add(self, tool: Tool) -> None:
        """One more tool. Raises InvalidDefinition where its name is taken."""
        if not isinstance(tool, Tool):
            raise InvalidDefinition(f"expected a tool, saw {tool!r:.80}; decorate the function with @tool")
        if self._tools.get(tool.name, tool) is not tool:
            raise InvalidDefinition(f"tool {tool.name}: there is one of this name already; give it another")
        self._tools[tool.name] = tool

    def described(self, context: UserExecutionContext) -> list[dict[str, Any]]:
        """What this user may call, as models are shown functions: `name`, `description`, `parameters`."""
        allowed = self._allowed(require_context(context), None)
        return [self._tools[name].described() for name in sorted(allowed)]

    def bound(self, context: UserExecutionContext, *, names: Iterable[str] | None = None) -> BoundTools:
        """The tools for one user, and of them only `names` where given: what an agent's body is handed."""
        return BoundTools(self, require_context(context), None if names is None else frozenset(names))

    async def call(
        self,
        context: UserExecutionContext,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        key: str = "",
        names: frozenset[str] | None = None,
    ) -> Any:
        """What the tool `name` gives for `arguments`, within its time and the context's deadline. Spends one call of
        the context's budget.

        `key`: an idempotency key of this user's; a tool with a keyword-only parameter `key` is given it. A call that
        failed, or whose process died, is run again under its key. `names` narrows what may be called.

        Raises NotFound, Rejected, InvalidInput (no such tool, not his, arguments that do not fit), BudgetExceeded,
        Conflict (the key was used with other arguments), Unavailable (under way under this key; the tool hangs),
        DeadlineExceeded, BulkheadFull, ToolFailed, Fenced (it took so long that another run of its key took over).
        """
        context = require_context(context)
        if self._is_closed:
            raise Unavailable(f"tool {name}: its dispatcher is closed; make another one", tool=name)
        given = dict(arguments or {})
        try:
            tool, fitted, body = self._admitted(context, name, given, names)
            if context.budget is not None:
                context.budget.spend(calls=1)
        except HoldfastError as error:
            await self._refuse(context, name, error)
            raise
        deadline = Deadline.of(context)
        async with self._places.place(user=context.user, deadline=deadline):
            ticket = await self._begin(context, self._new(context, tool, given, body, key))
            if ticket.call.outcome == "done":
                return tool.signature.fit_output(bytes(ticket.call.output), what=f"what tool {name} gave")
            self._tell(context, ticket.call)
            return await self._run(context, tool, fitted, ticket, deadline)

    async def calls(
        self, context: UserExecutionContext, *, run: str = "", after: str | None = None, limit: int = 100
    ) -> tuple[Sequence[ToolCall], str | None]:
        """A page of at most `limit` of the user's own calls on record, and where the next begins (None: nowhere)."""
        return await self._ledger.calls(require_context(context), run=run, after=after, limit=limit)

    async def forget(self, context: UserExecutionContext, calls: Iterable[ToolCall]) -> None:
        """Remove the rows of these calls of the user's; what was done under their keys may be done again."""
        await self._ledger.forget(require_context(context), [call.id for call in calls])

    def stuck(self) -> Mapping[str, int]:
        """Which tools have calls that were left behind, because they end for no cancellation, and how many."""
        return dict(self._stuck)

    async def close(self) -> None:
        """Cancel what runs; its callers get Unavailable. A thread that does not return is left to the end of the
        program."""
        self._is_closed = True
        await self._tasks.stop(grace_s=LAST_WORDS_S)
        self._threads.shutdown()

    def __repr__(self) -> str:
        return f"ToolDispatcher({len(self._tools)} tools, {self._places.look().taken} calls)"

    def _allowed(self, context: UserExecutionContext, names: frozenset[str] | None) -> frozenset[str]:
        return frozenset(
            name
            for name, tool in self._tools.items()
            if (not tool.scope or tool.scope in context.scopes) and (names is None or name in names)
        )

    def _admitted(
        self, context: UserExecutionContext, name: str, arguments: dict[str, Any], names: frozenset[str] | None
    ) -> tuple[Tool, dict[str, Any], bytes]:
        """The tool, its arguments by their types, and their canonical form."""
        known = self._tools.get(name)
        scope = known.scope if known is not None and (names is None or name in names) else ""
        refusal = why_refused(name, scope, names=self._allowed(context, names), scopes=context.scopes)
        if refusal is not None or known is None:
            raise refusal or InvalidInput(f"tool {name}: there is none")
        if self._stuck.get(name, 0) >= STUCK_MAX:
            raise Unavailable(
                f"tool {name}: {self._stuck[name]} calls of it hang and do not end when they are cancelled; it is "
                "refused until some do: run it in a process",
                tool=name,
            )
        fitted = known.signature.fit(arguments, what=f"arguments of tool {name}", bytes_max=known.arguments_bytes_max)
        if known.check is not None:
            try:
                known.check(**fitted)
            except ValueError as error:
                raise InvalidInput(f"arguments of tool {name}: {words(str(error))}", tool=name) from error
        return known, fitted, codec.canonical(fitted)

    def _new(
        self, context: UserExecutionContext, tool: Tool, arguments: dict[str, Any], body: bytes, key: str
    ) -> ToolCall:
        at = self._ledger.now_s
        return ToolCall(
            id=self._ledger.new_id(tool.name, key),
            tool=tool.name,
            outcome="began",
            digest=digest_of(body),
            arguments=shown(codec.plain(arguments), tool.hidden),
            key=key,
            run=context.run,
            request=context.request,
            thread=context.thread,
            trace=context.trace,
            at=at,
            over_at=at + tool.timeout_s,
        )

    async def _begin(self, context: UserExecutionContext, call: ToolCall) -> Ticket:
        """The row of `call`; or, where its key was used before and nothing has to be done again, the row of that."""
        for _ in range(RACES_MAX):
            earlier = await self._ledger.earlier(context, call.tool, call.key) if call.key else None
            known = None if earlier is None else as_earlier(earlier[0])
            if judge_earlier(call.tool, known, call.digest, self._ledger.now_s) == "give":
                assert earlier is not None
                return Ticket(*earlier)
            if earlier is not None:
                call = msgspec.structs.replace(call, attempts=earlier[0].attempts + 1)
            try:
                return await self._ledger.begin(context, call, earlier)
            except RowChanged:  # another call with this key was faster: it is under way now, or done
                continue
        raise Unavailable(f"tool {call.tool}: lost {RACES_MAX} races for key {call.key!r}; try again", tool=call.tool)

    async def _refuse(self, context: UserExecutionContext, name: str, error: HoldfastError) -> None:
        call = ToolCall(
            id=self._ledger.new_id(name, ""),
            tool=words(name)[:64],
            outcome="refused",
            run=context.run,
            request=context.request,
            thread=context.thread,
            trace=context.trace,
            at=self._ledger.now_s,
            error=words(error.message),
        )
        await self._ledger.refuse(context, call)
        self._tell(context, call)

    async def _run(
        self,
        context: UserExecutionContext,
        tool: Tool,
        arguments: dict[str, Any],
        ticket: Ticket,
        deadline: Deadline | None,
    ) -> Any:
        began_at = asyncio.get_running_loop().time()
        timeout_s = tool.timeout_s if deadline is None else min(tool.timeout_s, deadline.left_s)
        ended = msgspec.structs.replace(ticket.call, outcome="failed", error="was cancelled")
        try:
            body = await self._called(tool, _injected(tool, arguments, context, ticket.call.key), timeout_s)
            result = _fitted(tool, body)
            kept = msgspec.Raw(body if ticket.call.key else b"null")
            ended = msgspec.structs.replace(ended, outcome="done", error="", output=kept)
            return result
        except HoldfastError as error:
            ended = msgspec.structs.replace(ended, error=words(error.message))
            raise
        finally:
            took_s = asyncio.get_running_loop().time() - began_at
            await asyncio.shield(
                self._tasks.start(
                    self._end(context, ticket, msgspec.structs.replace(ended, took_s=took_s)), name="end of a call"
                )
            )

    async def _end(self, context: UserExecutionContext, ticket: Ticket, ended: ToolCall) -> None:
        await self._ledger.end(context, ticket, ended)
        self._tell(context, ended)

    async def _called(self, tool: Tool, arguments: dict[str, Any], timeout_s: float) -> bytes:
        """The JSON of what it gave. Raises ToolFailed, DeadlineExceeded."""
        if timeout_s <= 0:
            raise DeadlineExceeded(f"tool {tool.name}: the time of its caller is over", what=f"tool {tool.name}")
        if tool.runs == "process":
            return await run_in_process(tool, arguments, timeout_s=timeout_s)
        task = self._tasks.start(self._body(tool, arguments), name=tool.name)
        try:
            _, running = await asyncio.wait({task}, timeout=timeout_s)
        finally:
            if not task.done():
                await self._give_up(tool, task)
        if running:
            raise ToolFailed(
                f"tool {tool.name}: took longer than {timeout_s:.3g} s", tool=tool.name, error_type=ErrorType.TIMEOUT
            )
        if task.cancelled() and self._is_closed:
            raise Unavailable(f"tool {tool.name}: its dispatcher was closed while it ran", tool=tool.name)
        if task.cancelled():
            raise ToolFailed(f"tool {tool.name}: cancelled itself", tool=tool.name)
        return task.result()

    async def _give_up(self, tool: Tool, task: asyncio.Task[bytes]) -> None:
        """Cancel it. One that does not end is left behind, and counted until it does."""
        task.cancel()
        await asyncio.wait({task}, timeout=LAST_WORDS_S)
        if not task.done():
            self._stuck[tool.name] = self._stuck.get(tool.name, 0) + 1
            task.add_done_callback(lambda _: self._came_back(tool.name))

    def _came_back(self, name: str) -> None:
        self._stuck[name] -= 1
        if not self._stuck[name]:
            del self._stuck[name]

    async def _body(self, tool: Tool, arguments: dict[str, Any]) -> bytes:
        try:
            if tool.runs == "thread":
                result = await self._in_thread(tool, arguments)
            else:
                result = await tool.body(**arguments)
        except HoldfastError:
            raise
        except Exception as error:
            raise ToolFailed(
                f"tool {tool.name}: raised {type(error).__name__}: {words(str(error))}",
                tool=tool.name,
                raised=type(error).__name__,
            ) from error
        try:
            return codec.encode(result, what=f"output of tool {tool.name}", bytes_max=tool.output_bytes_max)
        except InvalidInput as error:
            raise ToolFailed(error.message, tool=tool.name, error_type=ErrorType.VALIDATION) from error

    async def _in_thread(self, tool: Tool, arguments: dict[str, Any]) -> Any:
        """A thread cannot be cancelled: one that is given up is written off until it comes back."""
        future = self._threads.submit(lambda: tool.body(**arguments))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if not future.done() and not future.cancel():
                self._threads.write_off()
                self._stuck[tool.name] = self._stuck.get(tool.name, 0) + 1
                loop = asyncio.get_running_loop()
                future.add_done_callback(lambda _: self._thread_came_back(loop, tool.name))
            raise

    def _thread_came_back(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._threads.take_back()
        with suppress(RuntimeError):  # the loop is closed: nobody counts any more
            loop.call_soon_threadsafe(self._came_back, name)

    def _tell(self, context: UserExecutionContext, call: ToolCall) -> None:
        if self._on_call is not None:
            self._on_call(context, call)


class BoundTools:
    """The tools of one user, as an agent's body sees them: `await tools.call("find_ticket", number=7)`."""

    __slots__ = ("_context", "_dispatcher", "_names")

    def __init__(self, dispatcher: ToolDispatcher, context: UserExecutionContext, names: frozenset[str] | None) -> None:
        self._dispatcher = dispatcher
        self._context = context
        self._names = names

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """What the tool gives. Raises what `ToolDispatcher.call` raises."""
        return await self._dispatcher.call(self._context, name, arguments, names=self._names)

    def described(self) -> list[dict[str, Any]]:
        """What may be called, as models are shown functions."""
        shown = self._dispatcher.described(self._context)
        return [each for each in shown if self._names is None or each["name"] in self._names]


def _injected(tool: Tool, arguments: dict[str, Any], context: UserExecutionContext, key: str) -> dict[str, Any]:
    given = dict(arguments)
    if tool.signature.wants_context:
        given["context"] = context
    if tool.signature.wants_key:
        given["key"] = key
    return given


def _fitted(tool: Tool, body: bytes) -> Any:
    try:
        return tool.signature.fit_output(body, what=f"output of tool {tool.name}")
    except InvalidInput as error:
        raise ToolFailed(error.message, tool=tool.name, error_type=ErrorType.VALIDATION) from error


def _nobody_waits(name: str, error: BaseException) -> None:
    """A body's failure is told to its caller, or he is gone."""
