"""When somebody stops waiting: carried by hand from the door to the last call, and only ever shortened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from holdfast.clock import monotonic_s, system_time_s
from holdfast.context import UserExecutionContext
from holdfast.errors import DeadlineExceeded, InvalidInput


class Deadline:
    """A moment at which the work is of no use any more. It spans all attempts of a call, and all that the call calls.

    Example::

        deadline = Deadline(5.0)
        async with deadline.bound("the answer"):
            answer = await ask(deadline.within(2.0))
    """

    __slots__ = ("_clock", "at")

    def __init__(self, left_s: float, *, clock: Callable[[], float] = monotonic_s) -> None:
        if not left_s < float("inf"):
            raise InvalidInput(f"deadline: expected a number of seconds, saw {left_s!r}")
        self._clock = clock
        self.at = clock() + left_s

    @classmethod
    def of(cls, context: UserExecutionContext) -> Deadline | None:
        """That of a user's context, None where it has none."""
        return None if context.deadline_s is None else cls(context.deadline_s - system_time_s())

    def within(self, left_s: float) -> Deadline:
        """One for a part of the work: so many seconds from now, but no later than this."""
        part = Deadline(left_s, clock=self._clock)
        part.at = min(part.at, self.at)
        return part

    @property
    def left_s(self) -> float:
        """Seconds until then; below zero afterwards."""
        return self.at - self._clock()

    @property
    def is_over(self) -> bool:
        return self.left_s <= 0

    def check(self, what: str) -> None:
        """Raises DeadlineExceeded once it is over."""
        if (left_s := self.left_s) <= 0:
            raise DeadlineExceeded(f"{what}: its deadline was {-left_s:.3f} s ago; it was not begun", what=what)

    @asynccontextmanager
    async def bound(self, what: str) -> AsyncIterator[None]:
        """End the block when the deadline is over, as DeadlineExceeded; a block that is late already is not begun."""
        self.check(what)
        given_s = self.left_s
        try:
            async with asyncio.timeout(given_s) as scope:
                yield
        except TimeoutError as error:
            if not scope.expired():
                raise  # one of its own
            raise DeadlineExceeded(f"{what}: not done within {given_s:.3f} s", what=what) from error

    def __repr__(self) -> str:
        return f"Deadline(left_s={self.left_s:.3f})"
