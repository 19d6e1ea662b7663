"""When a breaker opens and closes: pure decisions over counts, options and drawn numbers."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from holdfast.resilience.breaker.options import Adaptive, BreakerOptions

State = Literal["closed", "open", "half_open", "forced_open", "disabled", "metrics_only"]
"""`forced_open`, `disabled` and `metrics_only` are a person's word: calls and time do not change them."""


ROUNDING = 1e-9
"""Three of ten calls are 30 %, although 3 * 0.1 is a little more than 0.3."""


class Counts(NamedTuple):
    """Calls of a window: all that counted, those that failed, those that were slow (failed or not)."""

    calls: int = 0
    failures: int = 0
    slow: int = 0


def why_open(counts: Counts, options: BreakerOptions, *, failure_rate: float, calls_min: int, in_row: int = 0) -> str:
    """The reason to open a closed breaker, "" for none. `failure_rate`: the one that holds now, learned or given;
    `in_row`: how many calls have failed since the last success."""
    if options.failures_in_row is not None and in_row >= options.failures_in_row:
        return f"failed: {in_row} calls in a row"
    if counts.calls < calls_min:
        return ""
    if _reaches(counts.failures, failure_rate * counts.calls):
        return f"failed: {counts.failures} of {counts.calls} calls, the threshold is {failure_rate:.0%}"
    if _reaches(counts.slow, options.slow_rate * counts.calls):
        return (
            f"slow: {counts.slow} of {counts.calls} calls took over {options.slow_s:g} s, "
            f"the threshold is {options.slow_rate:.0%}"
        )
    return ""


def calls_needed(options: BreakerOptions) -> int:
    """How many calls a window must have: no more than fit into it."""
    return options.calls_min if options.window_s is not None else min(options.calls_min, options.window_calls)


class Verdict(NamedTuple):
    """What a round of probes came to. `is_over`: whether it can still turn out otherwise; `why_open`: "" to close."""

    is_over: bool
    why_open: str = ""


def judge_probes(counts: Counts, options: BreakerOptions, *, failure_rate: float) -> Verdict:
    """As soon as the outcome of the probes that are left cannot change it, and not before."""
    bad_needed = max(1, math.ceil(failure_rate * options.probes - ROUNDING))
    slow_needed = max(1, math.ceil(options.slow_rate * options.probes - ROUNDING))
    left = options.probes - counts.calls
    if counts.failures >= bad_needed:
        return Verdict(True, f"probes failed: {counts.failures} of {options.probes}")
    if counts.slow >= slow_needed:
        return Verdict(True, f"probes slow: {counts.slow} of {options.probes} took over {options.slow_s:g} s")
    return Verdict(counts.failures + left < bad_needed and counts.slow + left < slow_needed)


def open_wait_s(attempt: int, options: BreakerOptions, *, draw: float) -> float:
    """Seconds to stay open for the `attempt`th time in a row (1 is the first), `draw` in [0, 1).

    Raises ValueError if `attempt` < 1.
    """
    if attempt < 1:
        raise ValueError(f"attempt: expected 1 or more, saw {attempt}")
    grown = options.open_s * options.open_factor ** min(attempt - 1, 64)
    return min(grown, options.open_max_s) * (1 - options.jitter * draw)


def ramp_share(elapsed_s: float, options: BreakerOptions) -> float:
    """The share of its usual calls that are let in `elapsed_s` seconds after closing: from `ramp_from` up to 1."""
    passed_s = max(0.0, elapsed_s)
    if passed_s >= options.ramp_s:
        return 1.0
    return options.ramp_from + (1 - options.ramp_from) * passed_s / options.ramp_s


class Learned(NamedTuple):
    """What is usual, and the failure rate that follows from it."""

    usual: float
    failure_rate: float


def learn(usual: float | None, window: Counts, adaptive: Adaptive) -> Learned:
    """What is usual after one more healthy window, and the failure rate to open at.

    `usual`: what was before, None at first. Source: exponentially weighted moving average, as control charts use it.
    """
    seen = window.failures / window.calls if window.calls else 0.0
    now = seen if usual is None else usual + adaptive.weight * (seen - usual)
    return Learned(now, min(max(adaptive.times * now, adaptive.rate_min), adaptive.rate_max))


def _reaches(part: int, threshold: float) -> bool:
    return part >= threshold - ROUNDING
