"""The tasks of a store: started from wherever it is used, one of a name at a time, ended with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from holdfast.tasks import Supervisor

T = TypeVar("T")

STOP_TIMEOUT_S = 5.0


class Background:
    """Tasks on any number of loops. Those of a loop that ended, or of the process that forked us, are forgotten."""

    def __init__(self, on_failure: Callable[[str, BaseException], None], *, name: str = "mirror") -> None:
        self._name = name
        self._on_failure = on_failure
        self._pid = os.getpid()
        self._supervisors: WeakKeyDictionary[asyncio.AbstractEventLoop, Supervisor] = WeakKeyDictionary()
        self._single: dict[str, asyncio.Task[Any]] = {}

    def start(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Run `work` on the running loop."""
        self._forget_the_parent()
        loop = asyncio.get_running_loop()
        supervisor = self._supervisors.get(loop)
        if supervisor is None:
            supervisor = self._supervisors[loop] = Supervisor(self._name, on_failure=self._on_failure)
        task = supervisor.start(work, name=name)
        # A loop that ends cancels its tasks once. What its last commit starts after that is not waited for, nor need it
        # be: another loop's task takes over. It is no mistake to be warned of.
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        return task

    def ensure(
        self, name: str, work: Callable[[], Coroutine[Any, Any, None]], *, is_over: bool = False
    ) -> asyncio.Task[None]:
        """The task of that name that runs, on whatever loop; `work` on the running one, if none does.

        `is_over`: the one that ran is known to do nothing more.
        """
        self._forget_the_parent()
        task = self._single.get(name)
        if is_over or task is None or task.done() or not task.get_loop().is_running():
            task = self._single[name] = self.start(work(), name=name)
        return task

    async def stop(self) -> None:
        """Cancel all and wait for their ends."""
        self._forget_the_parent()
        here = asyncio.get_running_loop()
        for loop, supervisor in list(self._supervisors.items()):
            if loop is here:
                await supervisor.stop(grace_s=STOP_TIMEOUT_S)
            elif loop.is_running():
                with contextlib.suppress(RuntimeError, TimeoutError):  # it ended meanwhile, or is blocked
                    async with asyncio.timeout(STOP_TIMEOUT_S):
                        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(supervisor.stop(), loop))

    def _forget_the_parent(self) -> None:
        if self._pid != os.getpid():
            self._pid, self._supervisors, self._single = os.getpid(), WeakKeyDictionary(), {}

    def __repr__(self) -> str:
        return f"Background(tasks={sum(len(supervisor) for supervisor in self._supervisors.values())})"
