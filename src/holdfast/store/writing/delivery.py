"""How a writer answers: each waiter on his own loop, one call per loop, an error of his own for each."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from holdfast.errors import HoldfastError


class Waiter(NamedTuple):
    """Who waits for an answer, and where."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class Answer(NamedTuple):
    """What a waiter is told: a value, or an error."""

    waiter: Waiter
    value: Any
    error: BaseException | None


def waiter() -> Waiter:
    """A new one, of the running loop."""
    loop = asyncio.get_running_loop()
    return Waiter(loop, loop.create_future())


def copy_of(error: HoldfastError) -> HoldfastError:
    """An error of his own for each waiter: raising one instance twice would mix their tracebacks."""
    copy = type(error)(error.message, **error.facts)
    copy.__cause__ = error.__cause__
    return copy


def deliver(answers: Sequence[Answer]) -> None:
    """Tell everybody. May be called from any thread; on the waiters' own loop they learn it at once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_loop[answer.waiter.loop].append(answer)
    for loop, its in by_loop.items():
        if _is_running_here(loop):
            _finish(its)
            continue
        with contextlib.suppress(RuntimeError):  # the loop is closed: what it asked for is durable all the same
            loop.call_soon_threadsafe(_finish, its)


def _is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _finish(answers: Sequence[Answer]) -> None:
    for (_, future), value, error in answers:
        if future.done():
            continue  # its caller was cancelled
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)
