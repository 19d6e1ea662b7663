"""What becomes of work whose task is cancelled: it hears of it for certain, and closes what it opened all the same."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator


@contextlib.contextmanager
def heeding_cancellation() -> Iterator[None]:
    """Raises CancelledError at the end of a block in which the running task was cancelled, whatever it came to.

    For calls of drivers. On Python 3.11 `asyncio.wait_for`, by which redis-py writes, returns a result and loses the
    cancellation that comes just as it is there: the task went on for ever, and whoever had ended it waited in vain.
    """
    task = asyncio.current_task()
    assert task is not None, "a driver is called in a task"
    before = task.cancelling()
    try:
        yield
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        if task.cancelling() > before:
            raise asyncio.CancelledError from error
        raise
    if task.cancelling() > before:
        raise asyncio.CancelledError


async def through_all(*stages: Callable[[], Awaitable[object]]) -> None:
    """Run `stages` one after the other to the last one, also where one of them raises or is cancelled.

    For closing: who is cancelled while he closes something is told late, and nothing stays open. Raises CancelledError
    where that happened, else what was raised last.
    """
    with heeding_cancellation():
        async with contextlib.AsyncExitStack() as left:
            for stage in reversed(stages):
                left.push_async_callback(stage)
