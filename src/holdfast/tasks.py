"""Background tasks that somebody looks after: named, held, reported when they fail, ended together.

The one place in holdfast that creates tasks. A task that fails calls `on_failure` at once instead of dying in silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Supervisor:
    """Holds the tasks of one owner and ends them with it. Not for use from another loop."""

    def __init__(self, name: str, *, on_failure: Callable[[str, BaseException], None]) -> None:
        self._name = name
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Run `work` in the background under `name`."""
        task = asyncio.get_running_loop().create_task(work, name=f"{self._name}:{name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def stop(self, *, grace_s: float = 5.0) -> list[str]:
        """Cancel all and wait at most `grace_s` seconds. Returns the names of those that would not end."""
        mine = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in mine:
            task.cancel()
        if not mine:
            return []
        _, stuck = await asyncio.wait(mine, timeout=grace_s)
        return sorted(task.get_name() for task in stuck)

    async def ended(self) -> None:
        """Wait until those that run now have ended by themselves. Always lets the loop turn once."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        else:
            await asyncio.sleep(0)

    def names(self) -> list[str]:
        """The names of the tasks that run now, sorted."""
        return sorted(task.get_name() for task in self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def __repr__(self) -> str:
        return f"Supervisor({self._name!r}, tasks={len(self._tasks)})"

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(task.get_name(), error)
