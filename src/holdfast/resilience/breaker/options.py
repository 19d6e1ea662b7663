"""What a breaker may be told, checked when it is built."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from holdfast.errors import InvalidInput
from holdfast.resilience.breaker.outcomes import Classify, classify_any


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptive:
    """A failure rate that is learned: so many times what is usual, within bounds.

    What is usual is the mean failure rate of healthy windows, each new one weighing `weight`. A dependency that fails
    one call in a thousand opens at `rate_min`, one that fails one in ten as a rule is not opened by that.
    """

    rate_min: float = 0.2
    rate_max: float = 0.8
    times: float = 3.0
    weight: float = 0.1

    def __post_init__(self) -> None:
        _share("adaptive.rate_min", self.rate_min)
        _share("adaptive.rate_max", self.rate_max)
        _share("adaptive.weight", self.weight)
        if self.rate_min > self.rate_max:
            raise InvalidInput(f"adaptive: expected rate_min <= rate_max, saw {self.rate_min} > {self.rate_max}")
        _at_least("adaptive.times", self.times, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerOptions:
    """When a breaker opens, and how it comes back.

    It looks at the last `window_calls` calls, or where `window_s` is given at those of the last so many seconds. Once
    there are `calls_min` it opens when the share that failed is at least `failure_rate`, or when the share that took
    longer than `slow_s` seconds is at least `slow_rate`. `adaptive` learns the failure rate instead. It also
    opens after `failures_in_row` with no success between them, however many good calls the window still has.

    Open, it waits `open_s` seconds, each time in a row `open_factor` times as long up to `open_max_s`, less a drawn
    part of at most `jitter` of it. Then `probes` calls may try, each with `probe_ttl_s` to come back; when none has
    decided within `probing_max_s`, a new round begins. Closed again, it lets in `ramp_from` of the calls a second
    that were usual before it opened, or of `ramp_rate_min` where these were fewer, and all of them after `ramp_s`.

    `throttle_opens`: whether a throttled call opens it, for as long as the server says and at most `throttle_max_s`;
    for breakers of one key. `classify` says what an exception counts as.
    """

    failure_rate: float = 0.5
    slow_rate: float = 1.0
    slow_s: float = 60.0
    calls_min: int = 10
    window_calls: int = 100
    window_s: float | None = None
    adaptive: Adaptive | None = None
    failures_in_row: int | None = None
    open_s: float = 30.0
    open_factor: float = 2.0
    open_max_s: float = 300.0
    jitter: float = 0.2
    probes: int = 3
    probe_ttl_s: float = 30.0
    probing_max_s: float = 60.0
    ramp_s: float = 0.0
    ramp_from: float = 0.1
    ramp_rate_min: float = 10.0
    throttle_opens: bool = False
    throttle_max_s: float = 300.0
    classify: Classify = classify_any

    def __post_init__(self) -> None:
        for name in ("failure_rate", "slow_rate", "ramp_from"):
            _share(name, getattr(self, name))
        for name in ("calls_min", "window_calls", "probes", "open_factor"):
            _at_least(name, getattr(self, name), 1)
        for name in (
            "slow_s",
            "open_s",
            "open_max_s",
            "probe_ttl_s",
            "probing_max_s",
            "throttle_max_s",
            "ramp_rate_min",
        ):
            _above_zero(name, getattr(self, name))
        if self.failures_in_row is not None:
            _at_least("failures_in_row", self.failures_in_row, 1)
        if self.window_s is not None:
            _above_zero("window_s", self.window_s)
        if self.open_max_s < self.open_s:
            raise InvalidInput(f"open_max_s: expected at least open_s = {self.open_s:g} s, saw {self.open_max_s:g} s")
        if not 0 <= self.jitter < 1:
            raise InvalidInput(f"jitter: expected a share from 0 up to but not 1, saw {self.jitter!r}")
        if self.ramp_s < 0:
            raise InvalidInput(f"ramp_s: expected 0 (none) or more seconds, saw {self.ramp_s!r}")

    def but(self, **changes: Any) -> BreakerOptions:
        """These options with some changed. Raises InvalidInput for a name that is none, and for what a value may not
        be."""
        known = {field.name for field in fields(self)}
        if unknown := sorted(changes.keys() - known):
            raise InvalidInput(f"breaker: no option {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        return replace(self, **changes)


def _share(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise InvalidInput(f"{name}: expected a share above 0 and at most 1, saw {value!r}")


def _at_least(name: str, value: float, least: int) -> None:
    if value < least:
        raise InvalidInput(f"{name}: expected {least} or more, saw {value!r}")


def _above_zero(name: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise InvalidInput(f"{name}: expected a number above 0, saw {value!r}")
