"""How much goes to a dependency, and how often again: pure decisions over figures, options and drawn numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from holdfast.errors import (
    BreakerOpen,
    BulkheadFull,
    DeadlineExceeded,
    HoldfastError,
    InvalidInput,
    Unavailable,
    WorkflowError,
)
from holdfast.resilience.breaker.outcomes import Kind, classify_http
from holdfast.resilience.healing import Class

WEIGHTS: Mapping[Class, int] = {"people": 16, "remediation": 4, "background": 1}
"""How many of each class go for one of the last, where all of them wait: the last one waits longest, never for ever."""
CAUSES_MAX = 20


# -- concurrency ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Aimd:
    """One place more after a window that went well, and `times` as many after one with drops or a mean above
    `slow_s`."""

    times: float = 0.9
    slow_s: float = 5.0

    def __post_init__(self) -> None:
        _between("aimd.times", self.times, 0, 1)
        _between("aimd.slow_s", self.slow_s, 0, math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradient:
    """Fewer places as calls take longer than they do without a queue.

    A mean up to `tolerance` times the usual is fine; then there are `queue` places more. Each window moves the limit by
    `smoothing` of the way, and what is usual by `drift`. A window with drops leaves `times` as many.

    Source: Gradient2 of Netflix' concurrency-limits, mended where it grows for ever: it learns nothing of drops (their
    issue 137), and takes the queue that it made itself for what is usual (134).
    """

    tolerance: float = 1.5
    queue: float = 4.0
    smoothing: float = 0.2
    drift: float = 0.05
    times: float = 0.9

    def __post_init__(self) -> None:
        _between("gradient.tolerance", self.tolerance, 1, math.inf)
        _between("gradient.queue", self.queue, 0, math.inf)
        _between("gradient.smoothing", self.smoothing, 0, 1)
        _between("gradient.drift", self.drift, 0, 1)
        _between("gradient.times", self.times, 0, 1)


class Sample(NamedTuple):
    """What a window of calls came to. `took_s`: the mean of those that succeeded; `in_flight`: the most at once."""

    took_s: float
    in_flight: int
    drops: int


class Estimate(NamedTuple):
    """How many calls a dependency takes at once, and how long one takes without a queue (None before the first)."""

    limit: float
    usual_s: float | None = None


def next_estimate(before: Estimate, sample: Sample, how: Aimd | Gradient, *, least: int, most: int) -> Estimate:
    """The estimate after one more window, within [least, most].

    Traffic that does not use half of the limit says nothing about it, so it never makes it grow.
    """
    is_used = sample.in_flight * 2 >= before.limit
    usual_s = before.usual_s
    if isinstance(how, Gradient) and not sample.drops:
        is_queueless = not is_used or before.limit <= least
        usual_s = _usual_s(before.usual_s, sample.took_s, how.drift, is_queueless=is_queueless)
    if sample.drops or (isinstance(how, Aimd) and sample.took_s > how.slow_s):
        limit = before.limit * how.times
    elif not is_used:
        limit = before.limit
    elif isinstance(how, Aimd):
        limit = before.limit + 1
    else:
        assert usual_s is not None
        slope = max(0.5, min(1.0, how.tolerance * usual_s / sample.took_s)) if sample.took_s > 0 else 1.0
        limit = before.limit + how.smoothing * (before.limit * slope + how.queue - before.limit)
    return Estimate(min(max(limit, least), most), usual_s)


def _usual_s(before: float | None, seen: float, drift: float, *, is_queueless: bool) -> float:
    """What is usual falls at once. It rises slowly, and only by calls that did not queue behind our own."""
    if before is None or seen < before:
        return seen
    return before + drift * (seen - before) if is_queueless else before


# -- fairness -------------------------------------------------------------------------------------------------------


def share_of(places: int, share: float) -> int:
    """How many of `places` one user may have: at least one."""
    return max(1, math.ceil(places * share))


# -- retries --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How often and how soon. `attempts_max` counts the first. Waits are drawn from zero up to `base_s`, twice that and
    so on up to `cap_s`; where the other side says when to come again, that is the least. A longer wait than
    `push_back_max_s` is no wait: the error is raised."""

    attempts_max: int = 3
    base_s: float = 0.1
    cap_s: float = 10.0
    push_back_max_s: float = 60.0

    def __post_init__(self) -> None:
        if self.attempts_max < 1:
            raise InvalidInput(f"attempts_max: expected 1 or more, saw {self.attempts_max!r}")
        for name in ("base_s", "cap_s", "push_back_max_s"):
            _between(name, getattr(self, name), 0, math.inf)


def backoff_s(attempt: int, options: Backoff, *, draw: float) -> float:
    """Seconds to wait before retry `attempt` (1 is the first), `draw` in [0, 1): full jitter.

    Raises ValueError if `attempt` < 1. Source: Brooker, Exponential Backoff And Jitter, AWS 2015.
    """
    if attempt < 1:
        raise ValueError(f"attempt: expected 1 or more, saw {attempt}")
    return min(options.cap_s, options.base_s * 2.0 ** min(attempt - 1, 64)) * draw


def retries_left(requests: int, retries: int, *, ratio: float, reserve: float) -> float:
    """How many more retries a window allows in which there were so many requests and retries."""
    return ratio * requests + reserve - retries


def is_worth_retrying(error: Exception) -> bool:
    """Whether the same call may work a moment later, as far as the error says.

    Never where a breaker refused it, where we have no place for it, or where its time is over; nor where it may have
    happened (CommitUnknown), or where a rule says no.
    """
    if isinstance(error, BreakerOpen | BulkheadFull | DeadlineExceeded):
        return False
    if isinstance(error, WorkflowError):
        return error.is_retryable
    if isinstance(error, HoldfastError):
        return isinstance(error, Unavailable)
    return classify_http(error).kind in (Kind.FAILURE, Kind.THROTTLED)


def push_back_s(error: BaseException) -> float | None:
    """When the other side wants to be asked again, in seconds, from `retry_after_s` or a header `Retry-After`; below
    zero: not at all; None: it said nothing."""
    told = getattr(error, "retry_after_s", None)
    if told is None:
        headers: Any = getattr(getattr(error, "response", error), "headers", None)
        told = headers.get("retry-after", headers.get("Retry-After")) if isinstance(headers, Mapping) else None
    try:
        seconds = float(told)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return None if math.isnan(seconds) else seconds


def wait_before_retry_s(
    error: Exception, attempt: int, options: Backoff, *, draw: float, left_s: float | None
) -> float | None:
    """Seconds to wait before retry `attempt`, None not to retry: the attempts are spent, the other side says no, or
    the wait would outlast `left_s`, what is left of the deadline."""
    if attempt >= options.attempts_max:
        return None
    told_s = push_back_s(error)
    if told_s is not None and not 0 <= told_s <= options.push_back_max_s:
        return None
    wait_s = backoff_s(attempt, options, draw=draw) + (told_s or 0.0)
    return None if left_s is not None and wait_s >= left_s else wait_s


def mark_spent(error: BaseException) -> None:
    """Leave word on the error that a layer below has retried what could be."""
    error.__dict__["holdfast_retries_spent"] = True


def has_spent(error: BaseException) -> bool:
    """Whether a layer below has retried already, though the error was wrapped on its way."""
    each: BaseException | None = error
    for _ in range(CAUSES_MAX):
        if each is None:
            return False
        if each.__dict__.get("holdfast_retries_spent"):
            return True
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return False


def _between(name: str, value: float, low: float, high: float) -> None:
    if not (low <= value <= high and value > 0 and value < math.inf):
        raise InvalidInput(f"{name}: expected a number from {low:g} to {high:g} and above 0, saw {value!r}")
