"""How long the runs of dead processes had nobody: from the last sign of life of their owner to the row that says that
they are at work again. Pure bookkeeping."""

from __future__ import annotations

from bisect import insort
from collections import deque

import msgspec

KEPT_MAX = 20_000
"""Times that are kept; older ones are forgotten first."""


class Spread(msgspec.Struct, frozen=True):
    """Of `count` recovered runs: the seconds for which the first, the middle one, 95 in 100 and the last had nobody."""

    count: int
    first_s: float
    median_s: float
    p95_s: float
    last_s: float

    def __str__(self) -> str:
        return (
            f"{self.count} runs recovered: the first after {self.first_s:.2f} s, half within {self.median_s:.2f} s, "
            f"95 % within {self.p95_s:.2f} s, all within {self.last_s:.2f} s of their owner's last sign of life"
        )


class Silences:
    """The times of one engine, since it was opened."""

    def __init__(self, *, kept_max: int = KEPT_MAX) -> None:
        self._kept_max = kept_max
        self._in_order: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, seconds: float) -> None:
        """One more run is at work again, after so long."""
        if len(self._in_order) == self._kept_max:
            self._sorted.remove(self._in_order.popleft())
        self._in_order.append(seconds)
        insort(self._sorted, seconds)

    def spread(self) -> Spread | None:
        """How they lie; None where none were recovered."""
        if not self._sorted:
            return None
        last = len(self._sorted) - 1
        at = [self._sorted[round(share * last)] for share in (0, 0.5, 0.95, 1)]
        return Spread(last + 1, *at)

    def __repr__(self) -> str:
        return f"Silences({self.spread()})"
