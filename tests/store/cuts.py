"""Cancels a piece of work at each await of its loop in turn, and tells what was left unclosed by it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import types
import warnings
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any, NamedTuple

AWAITS_MAX = 1000
"""More than any work of these tests has: one that goes on for ever fails instead."""

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


def cuts(begin: Callable[[Cut], Coroutine[Any, Any, None]]) -> list[Left]:
    """Run `begin` in a loop of its own for each await of the loop, whatever task it is of, during the work that it does
    by the function that it is given; that work is cancelled there. Ends with the first that comes to its end uncut."""
    left = []
    gc.collect()
    gc.freeze()  # or each look for garbage goes through all that the other tests of this process left
    try:
        for number in range(AWAITS_MAX):
            scissors = _Scissors(number)
            with unclosed() as found:
                asyncio.run(scissors.run(begin))
            if found:
                left.append(Left(scissors.awaited, found))
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

    async def run(self, begin: Callable[[Cut], Coroutine[Any, Any, None]]) -> None:
        asyncio.get_running_loop().set_task_factory(self._make)
        await asyncio.ensure_future(begin(self._cut))

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
