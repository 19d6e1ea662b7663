"""The calls that a breaker looks back on: the last so many, or those of the last so many seconds.

Both keep running sums, so that a record costs the same whatever the window's size. A window of time is a ring of
slices: a call is forgotten between one slice before and the moment at which the window's length has passed.
"""

from __future__ import annotations

from holdfast.resilience.breaker.options import BreakerOptions
from holdfast.resilience.breaker.rules import Counts

SLICES = 20
_FAILED, _SLOW = 1, 2


class CountWindow:
    """The last `size` calls."""

    __slots__ = ("_at", "_last", "_ring", "_rounds", "_size", "calls", "failures", "slow")

    def __init__(self, size: int) -> None:
        self._size = size
        self._last = size - 1
        self._ring = bytearray(size)
        self.clear()

    def clear(self) -> None:
        self._at = self._rounds = self.calls = self.failures = self.slow = 0

    def record(self, now: float, has_failed: bool, is_slow: bool) -> None:
        at = self._at
        if self.calls == self._size:
            gone = self._ring[at]
            self.failures -= gone & _FAILED
            self.slow -= gone >> 1
        else:
            self.calls += 1
        self._ring[at] = has_failed | is_slow << 1
        self.failures += has_failed
        self.slow += is_slow
        self._go_on(at)

    def record_success(self, now: float) -> None:
        """`record` of a call that neither failed nor was slow: nearly all of them."""
        at = self._at
        if self.calls == self._size:
            if gone := self._ring[at]:
                self.failures -= gone & _FAILED
                self.slow -= gone >> 1
                self._ring[at] = 0
        else:
            self.calls += 1
            self._ring[at] = 0
        if at != self._last:
            self._at = at + 1
        else:
            self._go_on(at)

    def counts(self, now: float) -> Counts:
        return Counts(self.calls, self.failures, self.slow)

    def rate(self, now: float, since: float) -> float:
        """Calls a second, of those since it was empty at `since`."""
        return (self._rounds * self._size + self._at) / max(now - since, 1.0)

    def _go_on(self, at: int) -> None:
        if at == self._last:
            self._at = 0
            self._rounds += 1
        else:
            self._at = at + 1


class TimeWindow:
    """The calls of the last `length_s` seconds."""

    __slots__ = ("_length_s", "_now", "_per_s", "_ring", "_slice", "calls", "failures", "slow")

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        self._per_s = SLICES / length_s
        self._ring = [[0, 0, 0] for _ in range(SLICES)]
        self.clear()

    def clear(self) -> None:
        self.calls = self.failures = self.slow = 0
        self._slice = 0
        self._now = self._ring[0]
        for part in self._ring:
            part[:] = (0, 0, 0)

    def record(self, now: float, has_failed: bool, is_slow: bool) -> None:
        slice_ = int(now * self._per_s)
        if slice_ > self._slice:
            self._forget(slice_)
        part = self._now
        part[0] += 1
        self.calls += 1
        if has_failed:
            part[1] += 1
            self.failures += 1
        if is_slow:
            part[2] += 1
            self.slow += 1

    def record_success(self, now: float) -> None:
        """`record` of a call that neither failed nor was slow: nearly all of them."""
        slice_ = int(now * self._per_s)
        if slice_ > self._slice:
            self._forget(slice_)
        self._now[0] += 1
        self.calls += 1

    def counts(self, now: float) -> Counts:
        slice_ = int(now * self._per_s)
        if slice_ > self._slice:
            self._forget(slice_)
        return Counts(self.calls, self.failures, self.slow)

    def rate(self, now: float, since: float) -> float:
        """Calls a second, of those that it looks back on since it was empty at `since`."""
        return self.counts(now).calls / max(min(now - since, self._length_s), 1.0)

    def _forget(self, slice_: int) -> None:
        """Move on to `slice_`, and drop what is a whole window older."""
        for passed in range(max(self._slice, slice_ - SLICES) + 1, slice_ + 1):
            part = self._ring[passed % SLICES]
            self.calls -= part[0]
            self.failures -= part[1]
            self.slow -= part[2]
            part[:] = (0, 0, 0)
        self._slice = slice_
        self._now = self._ring[slice_ % SLICES]


Window = CountWindow | TimeWindow


def window_of(options: BreakerOptions) -> Window:
    """The window that the options ask for, empty."""
    return CountWindow(options.window_calls) if options.window_s is None else TimeWindow(options.window_s)
