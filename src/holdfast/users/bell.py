"""Wakes whoever waits at a stream: one waiter at the store for a whole process, however many listen.

What this process publishes rings at once, and only for its user. What others commit is only hinted at by the store,
which does not say whose it was: then one sweep asks where all the streams end at which somebody waits, a thousand in
one question, or looks at each of them where the store cannot say so. Sweeps take at most a fifth of the time, so that a
busy store does not make a thousand quiet listeners expensive; they are told a little later.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable

from holdfast.clock import Clock
from holdfast.errors import HoldfastError, Unavailable
from holdfast.logs import get_logger
from holdfast.store.contract.beyond import stream_ends
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Position, Scope
from holdfast.tasks import Supervisor
from holdfast.users.rules import UserKey, is_news

LOOKS_AT_ONCE = 100
"""How many streams a sweep looks at side by side, where the store must be asked for each."""
ENDS_AT_ONCE = 1000
"""How many it asks about in one question, where the store can say of many where they end."""
REST = 4.0
"""How many times as long as a sweep took the next one waits."""
REST_MIN_S, REST_MAX_S = 0.002, 5.0
AWAY_S = 0.5
"""How long until a store that could not be asked is asked again."""

log = get_logger("holdfast.users")


class Ear:
    """One listener at one stream. Its owner says `attend()`, looks, and then waits if there was nothing."""

    __slots__ = ("__weakref__", "_future", "_is_rung", "cursor", "key", "told")

    def __init__(self, key: UserKey) -> None:
        self.key = key
        self.cursor: Position | None = None
        self.told: Position | None = None
        self._is_rung = False
        self._future: asyncio.Future[None] | None = None

    @property
    def is_waiting(self) -> bool:
        return self._future is not None

    def attend(self) -> None:
        """From here on, whatever rings ends the next wait."""
        self._is_rung = False

    def ring(self) -> None:
        """Something may be there."""
        self._is_rung = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self, cursor: Position) -> None:
        """Until it rings, if it has not since `attend()`. `cursor`: behind what its owner has seen."""
        if self._is_rung:
            return
        self.cursor = cursor
        self._future = asyncio.get_running_loop().create_future()
        try:
            await self._future
        finally:
            self._future = None


class Bell:
    """The listeners of one process at one store, in one loop. Holds them weakly: who is forgotten listens no more."""

    def __init__(self, store: Store, clock: Clock, tasks: Supervisor) -> None:
        self._store = store
        self._clock = clock
        self._tasks = tasks
        self._ears: dict[UserKey, weakref.WeakSet[Ear]] = {}
        self._round: asyncio.Task[None] | None = None
        self._loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
        self.rings = self.sweeps = self.looks = 0

    def listen(self, key: UserKey) -> Ear:
        """A new listener at the stream of `key`, for as long as somebody holds it. Raises Unavailable in a second
        loop while the first one runs; after it ended, listeners begin anew."""
        self._be_in(asyncio.get_running_loop())
        ear = Ear(key)
        ears = self._ears.get(key)
        if ears is None:
            ears = self._ears[key] = weakref.WeakSet()
        # Before the set learns of it: the last to be told of its end is the first who asked.
        weakref.finalize(ear, _forget, weakref.ref(self), key).atexit = False
        ears.add(ear)
        if self._round is None or self._round.done():
            self._round = self._tasks.start(self._keep(), name="bell")
        return ear

    def ring(self, key: UserKey) -> None:
        """Something of `key` was committed here."""
        self.rings += 1
        for ear in tuple(self._ears.get(key, ())):
            ear.ring()

    def __len__(self) -> int:
        return sum(len(ears) for ears in self._ears.values())

    def __repr__(self) -> str:
        return f"Bell({len(self._ears)} streams, {len(self)} listeners, sweeps={self.sweeps})"

    def drop_empty(self, key: UserKey) -> None:
        """Forget a stream at which nobody listens any more."""
        if not self._ears.get(key):
            self._ears.pop(key, None)

    def _be_in(self, loop: asyncio.AbstractEventLoop) -> None:
        before = None if self._loop is None else self._loop()
        if before is loop:
            return
        if before is not None and not before.is_closed():
            raise Unavailable("streams: expected the loop in which they were first read, saw another; make others here")
        self._loop, self._round = weakref.ref(loop), None
        self._ears.clear()

    async def _keep(self) -> None:
        tick, is_away = 0, False
        while True:
            try:
                tick = await self._store.wait(tick)
                began = asyncio.get_running_loop().time()
                await self.sweep()
            except HoldfastError as error:
                if not is_away:
                    log.warning("streams cannot be watched", error=error.message)
                is_away = True
                await self._clock.sleep(AWAY_S)
                continue
            is_away = False
            took_s = asyncio.get_running_loop().time() - began
            await self._clock.sleep(min(max(took_s * REST, REST_MIN_S), REST_MAX_S))

    async def sweep(self) -> None:
        """Look at each stream at which somebody waits, and ring where there is something behind his cursor."""
        self.sweeps += 1
        waiting: list[UserKey] = []
        for key, ears in tuple(self._ears.items()):
            if any(ear.is_waiting for ear in ears):
                waiting.append(key)
            for ear in ears:
                if not ear.is_waiting:
                    ear.ring()  # it looks just now, perhaps a moment too early
        for start in range(0, len(waiting), ENDS_AT_ONCE):
            some = waiting[start : start + ENDS_AT_ONCE]
            ends = await stream_ends(self._store, some)
            if ends is None:
                await self._look_at_each(some)
                continue
            self.looks += 1
            for key, end in zip(some, ends, strict=True):
                self._ended(key, end)

    def _ended(self, key: UserKey, end: Position) -> None:
        """Ring for those who wait elsewhere than where the stream of `key` ends."""
        for ear in tuple(self._ears.get(key, ())):
            if ear.is_waiting and ear.cursor is not None and is_news(end, cursor=ear.cursor, told=ear.told):
                ear.told = end
                self._ring(ear)

    def _ring(self, ear: Ear) -> None:
        """Wake one who waits. It counts as a ring, so that he does not share a read that began before."""
        self.rings += 1
        ear.ring()

    async def _look_at_each(self, keys: list[UserKey]) -> None:
        for start in range(0, len(keys), LOOKS_AT_ONCE):
            await _side_by_side([self._looking(key) for key in keys[start : start + LOOKS_AT_ONCE]])

    def _looking(self, key: UserKey) -> Callable[[], Awaitable[None]]:
        async def look() -> None:
            cursors = [ear.cursor for ear in self._ears.get(key, ()) if ear.is_waiting and ear.cursor is not None]
            if not cursors:
                return
            self.looks += 1
            scope = Scope.of_user(*key)
            found = await self._store.events(scope, stream=key, after=min(cursors), limit=1)
            for ear in tuple(self._ears.get(key, ())) if found else ():
                self._ring(ear)

        return look


async def _side_by_side(works: list[Callable[[], Awaitable[None]]]) -> None:
    """All of them. What one of them raises is raised once all have ended."""
    outcomes = await asyncio.gather(*(work() for work in works), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


def _forget(bell: weakref.ref[Bell], key: UserKey) -> None:
    """A listener is gone: so is his stream, if he was the last."""
    if (there := bell()) is not None:
        there.drop_empty(key)
