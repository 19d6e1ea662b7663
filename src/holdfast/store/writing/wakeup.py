"""A counter of commits that any number of loops and threads can wait on. Waking costs one call per waiting loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import defaultdict
from collections.abc import Iterable


class Wakeup:
    """Counts from 1. `advance` may be called from any thread; each `wait` ends on the waiter's own loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 1
        self._waiting: dict[asyncio.Future[None], asyncio.AbstractEventLoop] = {}

    @property
    def count(self) -> int:
        """How often `advance` was called, plus one."""
        return self._count

    def advance(self) -> None:
        """Count one up and wake everybody who waits."""
        with self._lock:
            self._count += 1
            waiting, self._waiting = self._waiting, {}
        if waiting:
            settle((loop, future) for future, loop in waiting.items())

    async def wait(self, since: int, *, timeout_s: float | None = None) -> int:
        """The count once it is greater than `since`, or as it is after `timeout_s` seconds."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._count > since:
                return self._count
            self._waiting[future] = future.get_loop()
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            pass
        finally:
            with self._lock:
                self._waiting.pop(future, None)
        return self._count

    def __repr__(self) -> str:
        return f"Wakeup(count={self._count}, waiting={len(self._waiting)})"


def settle(waiting: Iterable[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]]) -> None:
    """Finish the futures on their loops, one call per loop. A loop that was closed meanwhile is passed over."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = defaultdict(list)
    for loop, future in waiting:
        by_loop[loop].append(future)
    for loop, futures in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to hear it
            loop.call_soon_threadsafe(_finish, futures)


def _finish(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
