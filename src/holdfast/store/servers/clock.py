"""A server's clock as this process knows it: its answers, carried on by our own monotonic clock."""

from __future__ import annotations

from holdfast.clock import Clock, monotonic_s, system_time_s

SAMPLE_LASTS_S = 30.0
"""A sample with a short way to the server is believed for so long, before one with a longer way may replace it."""


class ServerTime:
    """Epoch seconds on a server's clock. `clock` stands in for it altogether, where one is given (tests).

    Until the server has answered once, it is this machine's clock.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock
        self._offset_s: float | None = None
        self._way_s = 0.0
        self._sampled_at_s = 0.0

    @property
    def is_given(self) -> bool:
        """Whether a clock stands in for the server's."""
        return self._clock is not None

    def now_s(self) -> float:
        """The time there, now."""
        return self.server_s() if self._clock is None else self._clock.time_s()

    def server_s(self) -> float:
        """The server's own time, whatever stands in for it."""
        if self._offset_s is None:
            return system_time_s()
        return monotonic_s() + self._offset_s

    def learn(self, server_s: float, *, asked_at_s: float, answered_at_s: float) -> None:
        """The server said `server_s` at some moment between two of our monotonic clock.

        Taken for the middle of them, so that the error is at most half of the way there and back.
        """
        way_s = answered_at_s - asked_at_s
        is_old = answered_at_s - self._sampled_at_s > SAMPLE_LASTS_S
        if self._offset_s is None or way_s <= self._way_s or is_old:
            self._offset_s = server_s - (asked_at_s + answered_at_s) / 2
            self._way_s, self._sampled_at_s = way_s, answered_at_s

    def __repr__(self) -> str:
        return f"ServerTime(offset_s={self._offset_s}, way_s={self._way_s:.6f})"
