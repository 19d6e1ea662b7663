"""How many calls at once a dependency takes, learned from how long they take."""

from __future__ import annotations

import threading
from collections.abc import Callable

from holdfast.clock import monotonic_s
from holdfast.errors import InvalidInput
from holdfast.resilience.breaker.outcomes import Kind
from holdfast.resilience.traffic.bulkhead import Bulkhead
from holdfast.resilience.traffic.rules import Aimd, Estimate, Gradient, Sample, next_estimate


class AdaptiveLimit:
    """Sets the places of a bulkhead to what its dependency takes, between `least` and `most`.

    It looks at windows of at least `window_s` seconds and `samples_min` calls. Failed and throttled calls count as
    drops; cancelled and ignored ones count for nothing.

    Example::

        bulkhead = Bulkhead("model", places=20)
        guard = Guard(breaker, bulkhead=bulkhead, limit=AdaptiveLimit(bulkhead, most=50))
    """

    def __init__(
        self,
        bulkhead: Bulkhead,
        *,
        how: Aimd | Gradient | None = None,
        least: int = 1,
        most: int = 200,
        window_s: float = 1.0,
        samples_min: int = 10,
        clock: Callable[[], float] = monotonic_s,
    ) -> None:
        if not 1 <= least <= most:
            raise InvalidInput(f"adaptive limit: expected 1 <= least <= most, saw {least!r} and {most!r}")
        if window_s < 0 or samples_min < 1:
            raise InvalidInput(f"adaptive limit: expected a window, saw {window_s!r} s and {samples_min!r} samples")
        self._bulkhead = bulkhead
        self._how = how or Gradient()
        self._least, self._most = least, most
        self._window_s, self._samples_min = window_s, samples_min
        self._clock = clock
        self._lock = threading.Lock()
        self._estimate = Estimate(min(max(bulkhead.look().places, least), most))
        self._under_way = self._most_at_once = 0
        self._begin(clock())
        bulkhead.resize(self.places)

    @property
    def places(self) -> int:
        """How many calls at once, now."""
        return max(self._least, int(self._estimate.limit))

    def began(self) -> None:
        """A call has begun."""
        with self._lock:
            self._under_way += 1
            if self._under_way > self._most_at_once:
                self._most_at_once = self._under_way

    def ended(self, kind: Kind, took_s: float) -> None:
        """A call has ended: one `ended` for each `began`."""
        with self._lock:
            self._under_way -= 1
            if kind is Kind.SUCCESS:
                self._successes += 1
                self._took_s += took_s
            elif kind is Kind.FAILURE or kind is Kind.THROTTLED:
                self._drops += 1
            else:
                return
            if self._successes + self._drops < self._samples_min:
                return
            now = self._clock()
            if now - self._began_at < self._window_s:
                return
            before = self.places
            self._estimate = self._next()
            self._begin(now)
            places = self.places
        if places != before:
            self._bulkhead.resize(places)

    def _next(self) -> Estimate:
        mean_s = self._took_s / self._successes if self._successes else 0.0
        sample = Sample(mean_s, self._most_at_once, self._drops)
        return next_estimate(self._estimate, sample, self._how, least=self._least, most=self._most)

    def _begin(self, now: float) -> None:
        self._began_at = now
        self._successes = self._drops = 0
        self._took_s = 0.0
        self._most_at_once = self._under_way

    def __repr__(self) -> str:
        return f"AdaptiveLimit(places={self.places}, {type(self._how).__name__.lower()})"
