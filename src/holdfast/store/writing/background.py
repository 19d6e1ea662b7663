"""The tasks of a store: started from wherever it is used, one of a name at a time, ended with it.

A loop that ends cancels its tasks once, then closes what is bound to it. What its last commit starts between the two
(a put, a look at the generation) may be opening a connection, which nobody else would close: it is bound to the loop,
too, so that it is cancelled there and waited for, and from then on nothing is started on that loop.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from weakref import WeakSet

from holdfast.errors import Unavailable
from holdfast.loops import LoopBound
from holdfast.tasks import Supervisor

T = TypeVar("T")


class Background:
    """Tasks on any number of loops, until it is stopped. Those of the process that forked us are forgotten."""

    def __init__(self, on_failure: Callable[[str, BaseException], None], *, name: str = "mirror") -> None:
        self._name = name
        self._on_failure = on_failure
        self._pid = os.getpid()
        self._tasks: LoopBound[Supervisor] = LoopBound(self._open, self._end, name="background")
        self._ended: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
        self._single: dict[str, asyncio.Task[Any]] = {}

    def start(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T] | None:
        """Run `work` on the running loop; None, and it is not run, where that ends, and once all is stopped."""
        tasks = self._here()
        if tasks is None:
            work.close()
            return None
        return tasks.start(work, name=name)

    def ensure(
        self, name: str, work: Callable[[], Coroutine[Any, Any, None]], *, is_over: bool = False
    ) -> asyncio.Task[None] | None:
        """The task of that name that runs, on whatever loop; `work` on the running one, if none does. None as above.

        `is_over`: the one that ran is known to do nothing more.
        """
        if self._pid != os.getpid():
            self._pid, self._single = os.getpid(), {}
        task = self._single.get(name)
        if not is_over and task is not None and not task.done() and task.get_loop().is_running():
            return task
        if (begun := self.start(work(), name=name)) is not None:
            self._single[name] = begun
        return begun

    async def stop(self) -> None:
        """Cancel all, wait for their ends, and start nothing any more."""
        await self._tasks.end()

    def _here(self) -> Supervisor | None:
        if asyncio.get_running_loop() in self._ended:
            return None
        asking = self._tasks.get()
        try:
            asking.send(None)  # nothing in it waits: see `_open`
        except StopIteration as found:
            tasks: Supervisor = found.value
            return tasks
        except Unavailable:
            return None
        raise AssertionError("a supervisor is there at once")

    async def _open(self) -> Supervisor:
        return Supervisor(self._name, on_failure=self._on_failure)

    async def _end(self, tasks: Supervisor) -> None:
        self._ended.add(asyncio.get_running_loop())
        await tasks.stop()

    def __repr__(self) -> str:
        return f"Background(loops={len(self._tasks)})"
