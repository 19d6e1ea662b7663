"""What an agent's body is given beside its value: who asks, until when, and how to tell, to use tools and to write.

Everything here asks the fence first. Once a call is over or given up, nothing that its body still does gets through.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any, Literal, Protocol

from holdfast import codec
from holdfast.agents.events import EVENT_BYTES_MAX, EVENTS_MAX, AgentEvent, Kind, Outbox
from holdfast.agents.rules import Times
from holdfast.clock import Clock
from holdfast.context import UserExecutionContext
from holdfast.errors import DeadlineExceeded, Fenced, InvalidInput, Rejected
from holdfast.resilience.traffic import Deadline

NAME_CHARS_MAX = 200


class Tools(Protocol):
    """The tools of an agent's body, by name."""

    async def call(self, name: str, /, **arguments: Any) -> Any: ...


class AgentCall:
    """One call of an agent, as its body sees it.

    `id` names it, `context` says who asks, `deadline` when nobody waits any more. `token` is larger than that of every
    earlier call: a receiver that remembers the largest it saw refuses what a fenced call still sends. `key` is the
    idempotency key for effects in a durable network, "" elsewhere. Usable from the body's thread, too, but for `tool`
    and `write`.
    """

    def __init__(
        self,
        *,
        agent: str,
        context: UserExecutionContext,
        token: int,
        times: Times,
        outbox: Outbox,
        clock: Clock,
        tools: Tools | None = None,
        key: str = "",
    ) -> None:
        self.agent = agent
        self.id = f"{agent}-{token}"
        self.context = context
        self.token = token
        self.key = key
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self.deadline = Deadline(min(times.timeout_s, times.hard_at - times.began_at), clock=self._now)
        self._began_at = times.began_at
        self._timeout_s, self._lease_ttl_s, self._hard_at = times.timeout_s, times.lease_ttl_s, times.hard_at
        self._sign_at = times.began_at
        self._ending_at: float | None = None
        self._fenced_by = ""
        self._numbers = 0
        self._outbox = outbox
        self._clock = clock
        self._tools = tools
        self._loop_thread = threading.get_ident()
        self.refused = 0
        self.thread_id: int | None = None

    # -- for the body -------------------------------------------------------------------------------------------

    def progress(self, text: str = "", /, **facts: Any) -> None:
        """Tell how far it is; a sign of life. Raises Fenced; InvalidInput beyond 16 KiB; Rejected beyond 10,000
        events."""
        self.check()
        if text:
            facts["text"] = text
        codec.encode(facts, what=f"progress of agent {self.agent}", bytes_max=EVENT_BYTES_MAX)
        self.tell("progress", facts)

    def beat(self) -> None:
        """A sign of life: renews the lease, tells nobody. Raises Fenced."""
        self.check()
        self._sign_at = self._now()

    async def tool(self, name: str, /, **arguments: Any) -> Any:
        """What the tool `name` gives. Told as events; a result that comes after the fence is refused. Raises
        Fenced."""
        self.check()
        if self._tools is None:
            raise InvalidInput(f"agent {self.agent}: no tool {name}; the call was given no tools")
        self.tell("tool", {"tool": name, "phase": "began"})
        try:
            result = await self._tools.call(name, **arguments)
        except Exception as error:
            if not self._fenced_by:
                self.tell("tool", {"tool": name, "phase": "failed", "error": type(error).__name__})
            raise
        self.check_fence()
        self.tell("tool", {"tool": name, "phase": "ended"})
        return result

    def used(self, tool: str, phase: Literal["began", "ended", "failed"]) -> None:
        """Tell of a tool that was called by other means than `tool`; a sign of life. Raises Fenced."""
        self.check()
        self.tell("tool", {"tool": tool[:NAME_CHARS_MAX], "phase": phase})

    async def write(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """What `await function(*args, **kwargs)` gives, begun only where the call is not fenced off. A function with a
        keyword-only parameter `token` gets the call's token, to refuse what was on its way meanwhile. Raises
        Fenced."""
        self.check_fence()
        self._sign_at = self._now()
        if _wants_token(function):
            kwargs["token"] = self.token
        result = function(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    def spend(self, *, tokens: int = 0, money_usd: float = 0.0, calls: int = 0) -> None:
        """Take it from the context's budget, where it has one, before it is used. Raises BudgetExceeded."""
        self.check()
        if self.context.budget is not None:
            self.context.budget.spend(tokens=tokens, money_usd=money_usd, calls=calls)

    def charge(self, *, tokens: int = 0, money_usd: float = 0.0, calls: int = 0) -> None:
        """Count what was used already against the context's budget, where it has one. Never refused."""
        if self.context.budget is not None:
            self.context.budget.charge(tokens=tokens, money_usd=money_usd, calls=calls)

    def check(self) -> None:
        """Raises Fenced where the call was given up, DeadlineExceeded where its end was asked for. For loops that
        would otherwise not hear of it."""
        self.check_fence()
        if self._ending_at is not None and threading.get_ident() != self._loop_thread:
            raise DeadlineExceeded(f"agent {self.agent}: its end was asked for", what=f"agent {self.agent}")

    @property
    def is_fenced(self) -> bool:
        """Whether nothing of it gets through any more."""
        return bool(self._fenced_by)

    # -- for whoever looks after it -----------------------------------------------------------------------------

    @property
    def fenced_by(self) -> str:
        """Why it was fenced off; "" while it is not."""
        return self._fenced_by

    @property
    def is_ending(self) -> bool:
        return self._ending_at is not None

    def end(self) -> None:
        """Its end is asked for: the grace begins."""
        self._ending_at = self._ending_at or self._now()

    def fence(self, why: str) -> None:
        """From now on nothing of it gets through. From any thread; the first reason stays."""
        self._fenced_by = self._fenced_by or why

    async def drain(self) -> None:
        """Until its events are sent; not for long."""
        if not self._outbox.is_sent:
            await self._outbox.drain()

    def times(self, blocked_s: float) -> Times:
        """Its times, with what its loop was blocked for since it began."""
        return Times(
            self._began_at,
            self._sign_at,
            self._timeout_s,
            self._lease_ttl_s,
            self._hard_at,
            blocked_s,
            self._ending_at,
        )

    def tell(self, kind: Kind, facts: dict[str, Any]) -> None:
        """Send an event, from the loop or from the body's thread. Its number is drawn in the loop."""
        self._sign_at = self._now()
        if self._numbers >= EVENTS_MAX and kind in ("progress", "tool"):
            raise Rejected(f"agent {self.agent}: expected at most {EVENTS_MAX} events in one call; tell less")
        if threading.get_ident() == self._loop_thread:
            self._put(kind, facts)
        else:
            self._loop.call_soon_threadsafe(self._put_late, kind, facts)

    def _put_late(self, kind: Kind, facts: dict[str, Any]) -> None:
        if not self._fenced_by:
            self._put(kind, facts)

    def _put(self, kind: Kind, facts: dict[str, Any]) -> None:
        self._numbers += 1
        if not self._outbox.is_heard:
            return
        context = self.context
        self._outbox.put(
            AgentEvent(
                kind=kind,
                agent=self.agent,
                call=self.id,
                token=self.token,
                number=self._numbers,
                at_s=self._clock.time_s(),
                tenant=context.tenant,
                user=context.user,
                thread=context.thread,
                run=context.run,
                request=context.request,
                trace=context.trace,
                facts=facts,
            )
        )

    def check_fence(self) -> None:
        """Raises Fenced where it is fenced off."""
        if self._fenced_by:
            self.refused += 1
            raise Fenced(
                f"agent {self.agent}: call {self.id} was fenced off ({self._fenced_by}); stop, nothing of it is taken",
                agent=self.agent,
                call=self.id,
                token=self.token,
            )

    def __repr__(self) -> str:
        how = f"fenced: {self._fenced_by}" if self._fenced_by else "ending" if self.is_ending else "under way"
        return f"AgentCall({self.id}, {how})"


def _wants_token(function: Callable[..., Any]) -> bool:
    try:
        token = inspect.signature(function).parameters.get("token")
    except (TypeError, ValueError):
        return False
    return token is not None and token.kind is inspect.Parameter.KEYWORD_ONLY
