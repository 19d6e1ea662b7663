"""What a call came to, as far as a breaker cares. Pure.

A breaker learns from successes and failures alone. What the caller did to the call (a cancellation), what the caller
did wrong (a refused request) and what a server asks of one of its keys (a quota) say nothing about whether it is well.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from holdfast.errors import HoldfastError, Rejected

BELONGS_TO_THE_KEY = frozenset({429})
"""HTTP statuses by which a server turns one key away, for a time."""
FAULT_OF_THE_SERVER_MIN = 500


class Kind(enum.Enum):
    """How a call counts."""

    SUCCESS = "success"
    FAILURE = "failure"
    IGNORED = "ignored"
    """It ended, and says nothing: neither counted nor a reason to forget what was."""
    THROTTLED = "throttled"
    """The key was turned away; the server works."""
    CANCELLED = "cancelled"
    """The caller went away before it ended."""


class Outcome(NamedTuple):
    """What one call came to. `retry_after_s`: what a throttled caller was told, None if nothing."""

    kind: Kind
    retry_after_s: float | None = None


SUCCESS = Outcome(Kind.SUCCESS)
FAILURE = Outcome(Kind.FAILURE)
IGNORED = Outcome(Kind.IGNORED)
CANCELLED = Outcome(Kind.CANCELLED)

Classify = Callable[[Exception], Outcome]
"""What an exception counts as. Cancellations are never asked about."""


def is_cancellation(error: BaseException) -> bool:
    """Whether the caller went away: a cancelled task, a stream closed early, an interpreter that ends. None of these
    is an `Exception`."""
    return not isinstance(error, Exception)


def classify_any(error: Exception) -> Outcome:
    """Every exception is a failure, but for what a rule of ours refused before anything was called."""
    return IGNORED if isinstance(error, Rejected) else FAILURE


def classify_http(error: Exception) -> Outcome:
    """By the HTTP status that the error carries, as httpx's, aiohttp's and the LLM vendors' do.

    5xx, timeouts and broken connections are failures; 429 throttles the key; other 4xx are the caller's own. An error
    without a status is a failure, for it did not come from an answer.
    """
    status = status_of(error)
    if status is None:
        return classify_any(error)
    if status in BELONGS_TO_THE_KEY:
        return Outcome(Kind.THROTTLED, retry_after_of(error))
    return FAILURE if status >= FAULT_OF_THE_SERVER_MIN else IGNORED


def classify_connection(error: Exception) -> Outcome:
    """Only what says that the other side cannot be reached, or did not answer in time, is a failure.

    For a database or a cache: a statement that it refuses shows that it is well.
    """
    if isinstance(error, OSError | TimeoutError | EOFError):  # ConnectionError and asyncio.TimeoutError are among them
        return FAILURE
    if isinstance(error, HoldfastError):
        return IGNORED if isinstance(error, Rejected) else FAILURE
    return FAILURE if any(_sounds_away(kind.__name__) for kind in type(error).__mro__) else IGNORED


def status_of(error: BaseException) -> int | None:
    """The HTTP status in an error, or None."""
    for holder in (error, getattr(error, "response", None)):
        for name in ("status_code", "status", "code"):
            value = getattr(holder, name, None)
            if isinstance(value, int) and 100 <= value <= 599:
                return int(value)
    return None


def retry_after_of(error: BaseException) -> float | None:
    """The seconds of a `Retry-After` header in an error's answer, or of its attribute `retry_after_s`; None without."""
    told = getattr(error, "retry_after_s", None)
    if told is None:
        headers: Any = getattr(getattr(error, "response", error), "headers", None)
        if not isinstance(headers, Mapping):
            return None
        told = headers.get("retry-after", headers.get("Retry-After"))
    try:
        seconds = float(told)  # a date is not read: clocks differ, and LLM vendors send seconds
    except (TypeError, ValueError):
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _sounds_away(name: str) -> bool:
    """Drivers have no base class in common, but they name their errors alike."""
    return any(word in name for word in ("Connection", "Timeout", "Interface", "Unavailable", "CannotConnect"))
