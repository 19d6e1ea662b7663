"""What an agent's call tells while it runs, in order, to whoever follows it; and what becomes of it when nobody does.

An event is for watching. Nothing waits for it but the end of its own call, and that not for long.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from holdfast.logs import get_logger
from holdfast.tasks import Supervisor

Kind = Literal["started", "progress", "tool", "finished", "failed"]
EVENT_BYTES_MAX = 16 * 1024
"""Bound on the facts of one event, as JSON."""
EVENTS_MAX = 10_000
"""Bound on the events of one call."""
QUEUE_MAX = 1_000
"""How many events of one call wait for a slow receiver; of more, the oldest that tells of progress goes."""
EMIT_TIMEOUT_S = 2.0
"""How long a receiver may take for one event, and how long a call that is over waits for its last events."""
AWAY_S = 1.0
"""How long a receiver that failed is left alone."""

log = get_logger("holdfast.agents")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEvent:
    """One thing that happened in a call. `number` counts the events of the call from 1, without a gap where none was
    lost; `token` is the call's fencing token; `at_s` epoch seconds.

    `kind` and its `facts`: "started" (type); "progress" (what the agent told); "tool" (tool, phase "began", "ended" or
    "failed"); "finished" (took_s); "failed" (error, message, state, where, took_s).
    """

    kind: Kind
    agent: str
    call: str
    token: int
    number: int
    at_s: float
    tenant: str
    user: str
    thread: str = ""
    run: str = ""
    request: str = ""
    trace: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


Emit = Callable[[AgentEvent], Awaitable[object] | None]
"""Takes one event; async or not."""


@dataclass(slots=True)
class Delivery:
    """What became of a core's events. `undelivered`: those that went to the fallback; `dropped`: lost to a full
    queue."""

    delivered: int = 0
    undelivered: int = 0
    dropped: int = 0


def to_the_log(event: AgentEvent) -> None:
    """The fallback unless another is given: one line of the log, without what the agent told."""
    log.info("undelivered event", kind=event.kind, agent=event.agent, call=event.call, number=event.number)


class Outbox:
    """The events of one call on their way to `emit`, one after the other. On one loop."""

    def __init__(
        self, emit: Emit | None, fallback: Callable[[AgentEvent], None], tally: Delivery, tasks: Supervisor
    ) -> None:
        self._emit = emit
        self._now = asyncio.get_running_loop().time
        self._fallback = fallback
        self._tally = tally
        self._tasks = tasks
        self._queue: deque[AgentEvent] = deque()
        self._pump: asyncio.Task[None] | None = None
        self._away_until = 0.0

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens."""
        return self._emit is not None

    @property
    def is_sent(self) -> bool:
        """Whether nothing is on its way."""
        return self._pump is None or self._pump.done()

    def put(self, event: AgentEvent) -> None:
        """Send it after those before it. Never waits and never fails."""
        if self._emit is None:
            return
        if self.is_sent:
            answer = self._send(event)
            if answer is not None:
                self._pump = self._tasks.start(self._pumped(event, answer), name=f"events of {event.agent}")
            return
        if len(self._queue) >= QUEUE_MAX:
            self._drop_one()
        self._queue.append(event)

    async def drain(self, timeout_s: float = EMIT_TIMEOUT_S) -> None:
        """Until all are sent, or the time is over; then the rest goes to the fallback."""
        pump = self._pump
        if pump is None or pump.done():
            return
        try:
            await asyncio.wait((pump,), timeout=timeout_s)
        finally:
            if not pump.done():
                pump.cancel()
                self._give_up()

    def _drop_one(self) -> None:
        for place, event in enumerate(self._queue):
            if event.kind == "progress":
                del self._queue[place]
                break
        else:
            self._queue.popleft()
        self._tally.dropped += 1

    def _send(self, event: AgentEvent) -> Awaitable[object] | None:
        """Hand it over; what is left to await, if anything. Who raises, or was away a moment ago, gets it not."""
        assert self._emit is not None
        if self._now() < self._away_until:
            self._fall_back(event)
            return None
        try:
            answer = self._emit(event)
        except Exception as error:
            self._failed(event, error)
            return None
        if inspect.isawaitable(answer):
            return answer
        self._tally.delivered += 1
        return None

    async def _pumped(self, event: AgentEvent, answer: Awaitable[object] | None) -> None:
        try:
            while True:
                if answer is not None:
                    await self._awaited(event, answer)
                if not self._queue:
                    return
                event = self._queue.popleft()
                answer = self._send(event)
        finally:
            self._pump = None

    async def _awaited(self, event: AgentEvent, answer: Awaitable[object]) -> None:
        try:
            async with asyncio.timeout(EMIT_TIMEOUT_S):
                await answer
        except Exception as error:
            self._failed(event, error)
        else:
            self._tally.delivered += 1

    def _failed(self, event: AgentEvent, error: BaseException) -> None:
        self._away_until = self._now() + AWAY_S
        log.warning(
            "events are not taken", agent=event.agent, call=event.call, error=f"{type(error).__name__}: {error}"
        )
        self._fall_back(event)

    def _fall_back(self, event: AgentEvent) -> None:
        self._tally.undelivered += 1
        try:
            self._fallback(event)
        except Exception as error:
            log.warning("the fallback for events raised", error=repr(error))

    def _give_up(self) -> None:
        while self._queue:
            self._fall_back(self._queue.popleft())
