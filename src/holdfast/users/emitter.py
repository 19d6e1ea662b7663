"""One user's events on their way into his stream: in order, in batches, bounded, and told at once where it is away.

Whoever emits never waits. While the stream cannot be written, events go to the bridge instead, which reaches the user
without it; they are kept, too, and written when it is back, so the stream has them all, in their order, once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, NamedTuple, Protocol

import msgspec

from holdfast.clock import Clock
from holdfast.context import UserExecutionContext
from holdfast.errors import CommitUnknown, HoldfastError, Unavailable
from holdfast.logs import get_logger
from holdfast.tasks import Supervisor
from holdfast.users.rules import START, UserKey
from holdfast.users.stream import BATCH_MAX, StreamEvent, UserStreams

QUEUE_MAX = 1000
"""Events of one user that wait to be written. Beyond it the oldest go, and the stream tells how many."""
SEND_TIMEOUT_S = 2.0
BACK_OFF_S, BACK_OFF_MAX_S = 0.1, 5.0
DROPPED = "events.dropped"

log = get_logger("holdfast.users")


class EventBridge(Protocol):
    """Reaches a user beside his stream: his WebSocket, for instance. `send` has 2 s; what it raises is logged."""

    async def send(self, context: UserExecutionContext, event: StreamEvent) -> None:
        """`event.position` is "0:0": it is not in the stream yet."""
        ...


class EmitterFigures(NamedTuple):
    """One emitter's counts. `bytes`: encoded size of what waits. `bridged`: told by the bridge for want of a stream."""

    waiting: int
    bytes: int
    written: int
    dropped: int
    bridged: int
    is_away: bool


class _Queued:
    __slots__ = ("body", "context", "data", "is_told", "name")

    def __init__(self, context: UserExecutionContext, name: str, body: bytes, data: Any) -> None:
        self.context = context
        self.name = name
        self.body = body
        self.data = data
        self.is_told = False


class UserEmitter:
    """Writes what is emitted for one user. `bridge` may be set at any time."""

    def __init__(
        self, key: UserKey, streams: UserStreams, *, clock: Clock, tasks: Supervisor, queue_max: int = QUEUE_MAX
    ) -> None:
        self.key = key
        self.bridge: EventBridge | None = None
        self._streams = streams
        self._clock = clock
        self._tasks = tasks
        self._queue_max = queue_max
        self._queue: deque[_Queued] = deque()
        self._bytes = 0
        self._written = self._dropped = self._untold = self._bridged = 0
        self._is_away = False
        self._drain: asyncio.Task[None] | None = None

    def emit(self, context: UserExecutionContext, name: str, data: Any = None) -> int:
        """Queue one event; its encoded size. Raises InvalidInput: not JSON, too large, no name."""
        assert (context.tenant, context.user) == self.key, "an emitter is its user's alone"
        body = self._streams.encode(context, name, data)
        if len(self._queue) >= self._queue_max:
            self._drop_oldest()
        self._queue.append(_Queued(context, name, body, data))
        self._bytes += len(body)
        if self._drain is None or self._drain.done():
            self._drain = self._tasks.start(self._write(), name=f"events of {self.key[1]}")
        return len(body)

    async def flush(self, *, timeout_s: float = 5.0) -> bool:
        """Until all that was emitted is in the stream; False where that takes longer."""
        if self._drain is not None and not self._drain.done():
            await asyncio.wait([self._drain], timeout=timeout_s)
        return not self._queue

    def figures(self) -> EmitterFigures:
        """The counts now."""
        return EmitterFigures(len(self._queue), self._bytes, self._written, self._dropped, self._bridged, self._is_away)

    def streams_held(self) -> set[UserKey]:
        """Whose events wait here: its user's, or isolation is broken."""
        return {(each.context.tenant, each.context.user) for each in self._queue}

    def __repr__(self) -> str:
        return f"UserEmitter({self.key[1]!r} of {self.key[0]!r}, waiting={len(self._queue)})"

    def _drop_oldest(self) -> None:
        gone = self._queue.popleft()
        self._bytes -= len(gone.body)
        self._dropped += 1
        self._untold += 1

    async def _write(self) -> None:
        back_off_s = BACK_OFF_S
        while self._queue:
            batch = self._next_batch()
            try:
                await self._streams.publish_encoded(self.key, [(each.name, each.body) for each in batch])
            except (Unavailable, CommitUnknown) as error:
                self._put_back(batch, error)
                await self._tell_bridge()
                await self._clock.sleep(back_off_s)
                back_off_s = min(back_off_s * 2, BACK_OFF_MAX_S)
                continue
            except HoldfastError as error:
                log.error("events lost: the stream refuses them", user=self.key[1], error=error.message)
                self._dropped += len(batch)
            else:
                self._written += len(batch)
                self._is_away, back_off_s = False, BACK_OFF_S

    def _next_batch(self) -> list[_Queued]:
        """The next events, which leave the queue; first, that some were dropped."""
        batch: list[_Queued] = []
        if self._untold:
            context, data = self._queue[0].context, {"count": self._untold}
            batch.append(_Queued(context, DROPPED, self._streams.encode(context, DROPPED, data), data))
            self._untold = 0
        while self._queue and len(batch) < BATCH_MAX:
            each = self._queue.popleft()
            self._bytes -= len(each.body)
            batch.append(each)
        return batch

    def _put_back(self, batch: list[_Queued], error: HoldfastError) -> None:
        if not self._is_away:
            log.warning("stream is away", user=self.key[1], error=error.message)
        self._is_away = True
        self._queue.extendleft(reversed(batch))
        self._bytes += sum(len(each.body) for each in batch)

    async def _tell_bridge(self) -> None:
        """Give what waits to the bridge, each event once."""
        for each in tuple(self._queue):
            if self.bridge is not None and not each.is_told:
                each.is_told = True
                self._bridged += await self._sent(self.bridge, each)

    async def _sent(self, bridge: EventBridge, each: _Queued) -> bool:
        context = each.context
        data = msgspec.to_builtins(each.data)
        event = StreamEvent(
            position=START,
            name=each.name,
            at=self._clock.time_s(),
            data=data,
            run=context.run,
            thread=context.thread,
            request=context.request,
        )
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await bridge.send(context, event)
        except Exception as error:
            log.warning("bridge does not reach its user", user=self.key[1], error=repr(error))
            return False
        return True
