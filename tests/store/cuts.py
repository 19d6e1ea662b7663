"""Cancels a piece of work at each await of its loop in turn, and tells what was left unclosed by it.

Two looks: at the end of the work, for files, sockets, tasks and threads that are still there; and once the loop is
gone, for what was dropped without being closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
import types
import warnings
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any, NamedTuple

AWAITS_MAX = 1000
"""More than any work of these tests has: one that goes on for ever fails instead."""

LOOKS_MAX = 400
LOOK_EVERY_S = 0.005
"""How long what is closed may take to be gone: sockets are closed by the next turn of the loop, threads end by
themselves."""
OURS = ("holdfast", "mirror")
"""What the names of our tasks and threads begin with."""

Piece = Coroutine[Any, Any, object]
Cut = Callable[[Piece], Coroutine[Any, Any, None]]
"""Does a piece of work, and returns where it was cut off, too."""


class Left(NamedTuple):
    """What one cut left behind."""

    awaited: str
    """Where the loop was, when the work was cut off."""
    unclosed: list[str]


@contextlib.contextmanager
def unclosed() -> Iterator[list[str]]:
    """What was dropped unclosed in the block: the words of the warnings, known once the block is over."""
    found: list[str] = []
    gc.collect()  # what others left
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        yield found
        gc.collect()
        found += [str(warning.message) for warning in caught if warning.category is ResourceWarning]


def held() -> set[str]:
    """The files and sockets that are open, and the tasks and threads of ours."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one by which we list them
            found.add(os.readlink(f"/proc/self/fd/{number}"))
    found |= {f"task {name}" for task in asyncio.all_tasks() if (name := task.get_name()).startswith(OURS)}
    return found | {f"thread {thread.name}" for thread in threading.enumerate() if thread.name.startswith(OURS)}


async def held_beyond(before: set[str]) -> list[str]:
    """What is held that was not `before`, once it had time to go."""
    for _ in range(LOOKS_MAX):
        if not held() - before:
            return []
        await asyncio.sleep(LOOK_EVERY_S)
    return sorted(held() - before)


def cuts(begin: Callable[[Cut], Coroutine[Any, Any, None]], *, lets_go: bool) -> list[Left]:
    """Run `begin` in a loop of its own for each await of the loop, whatever task it is of, during the work that it does
    by the function that it is given; that work is cancelled there. Ends with the first that comes to its end uncut.

    `lets_go`: at its end nothing may be held any more; else at the end of its loop."""
    left = []
    gc.collect()
    gc.freeze()  # or each look for garbage goes through all that the other tests of this process left
    try:
        for number in range(AWAITS_MAX):
            scissors = _Scissors(number)
            with unclosed() as found:
                holds = asyncio.run(scissors.run(begin, lets_go=lets_go))
            if found or holds:
                left.append(Left(scissors.awaited, [*found, *holds]))
            if not scissors.has_cut:
                assert number, "it never waited: nothing was cut off"
                return left
    finally:
        gc.unfreeze()
    raise AssertionError(f"expected an end within {AWAITS_MAX} awaits")


class _Scissors:
    """Cut off the work at the `number`th await of its loop, counted from 0."""

    def __init__(self, number: int) -> None:
        self._left = number
        self._task: asyncio.Task[Any] | None = None
        self.has_cut = False
        self.awaited = ""

    async def run(self, begin: Callable[[Cut], Coroutine[Any, Any, None]], *, lets_go: bool) -> list[str]:
        """What it still holds at its end."""
        before = held()
        asyncio.get_running_loop().set_task_factory(self._make)
        await asyncio.ensure_future(begin(self._cut))
        return await held_beyond(before) if lets_go else []

    def _make(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(self._watched(work), loop=loop, **options)
        task.add_done_callback(lambda _: work.close())  # it never began, where its task was cancelled before
        return task

    async def _watched(self, work: Piece) -> object:
        return await self._counted(work)

    @types.coroutine
    def _counted(self, work: Piece) -> Generator[Any, None, object]:
        error: BaseException | None = None
        while True:
            try:
                waited = work.send(None) if error is None else work.throw(error)
            except StopIteration as end:
                return end.value
            error = None
            self._count(work)
            try:
                yield waited
            except BaseException as thrown:
                error = thrown

    def _count(self, work: Piece) -> None:
        if self._task is None:
            return
        if self._left == 0:
            self.has_cut = True
            self.awaited = _place(work)
            asyncio.get_running_loop().call_soon(self._task.cancel)
        self._left -= 1

    async def _cut(self, work: Piece) -> None:
        self._task = asyncio.current_task()
        assert self._task is not None
        try:
            await work
        except asyncio.CancelledError:
            self._task.uncancel()
        finally:
            self._task = None


def _place(work: Any) -> str:
    """The innermost functions of ours that `work` stands in."""
    steps = []
    while work is not None:
        frame = getattr(work, "cr_frame", None) or getattr(work, "gi_frame", None)
        if frame is not None:
            steps.append(f"{frame.f_code.co_name}:{frame.f_lineno}")
        work = getattr(work, "cr_await", None) or getattr(work, "gi_yieldfrom", None)
    return " > ".join(steps)
