"""Time and chance, injected. Nothing else in holdfast reads a clock or rolls dice.

Wall time is an aware UTC datetime at the surface and a float of epoch seconds inside records; durations come from the
loop. A test hands in a virtual clock; production uses `SystemClock`.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Protocol

from holdfast.errors import InvalidInput

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")


class Clock(Protocol):
    """Wall time in seconds since the epoch (UTC), and a sleep on the same time line."""

    def time_s(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class Randomness(Protocol):
    """The only source of chance: jitter and ids draw from it. A seeded `random.Random` will do."""

    def random(self) -> float: ...

    def getrandbits(self, k: int, /) -> int: ...


WORD_BITS = 128
DRAWN_BYTES = 4096
"""The operating system is asked for so many bytes at once, of which each draw takes a word."""

monotonic_s: Callable[[], float] = time.monotonic
"""Seconds of a clock that is never set, for durations outside a loop and between loops. No function of ours around it:
a breaker reads it twice a call, and the wrapper cost 35 ns each time."""


def system_time_s() -> float:
    """Epoch seconds of the machine's wall clock."""
    return time.time()


class SystemClock:
    """The machine's wall clock."""

    def time_s(self) -> float:
        return system_time_s()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def __repr__(self) -> str:
        return "SystemClock()"


class _SystemRandomness:
    """The operating system's, drawn many at a time. What was drawn tells nothing of what else is: of a generator such
    as `random.Random` a few hundred ids show its state, and so all that it draws for others.

    Asking the system for each draw would hand Python's lock to another thread every time: 68 us beside a busy writer.
    """

    __slots__ = ("_drawn",)

    def __init__(self) -> None:
        self._drawn: list[int] = []

    def random(self) -> float:
        return self.getrandbits(53) * 2.0**-53

    def getrandbits(self, k: int, /) -> int:
        if k > WORD_BITS:
            return int.from_bytes(os.urandom(-(-k // 8))) >> (-k % 8)
        while True:  # another thread may take what we draw
            try:
                return self._drawn.pop() >> (WORD_BITS - k)
            except IndexError:
                block = os.urandom(DRAWN_BYTES)
                words = range(0, DRAWN_BYTES, WORD_BITS // 8)
                self._drawn.extend([int.from_bytes(block[start : start + WORD_BITS // 8]) for start in words])

    def __repr__(self) -> str:
        return "SystemRandomness()"


def system_randomness() -> Randomness:
    """Chance of the operating system, never the same twice; make it after a fork, not before."""
    return _SystemRandomness()


def seeded_randomness(seed: int) -> Randomness:
    """Chance that repeats: the same seed draws the same. For tests and simulations."""
    return random.Random(seed)


def utc(time_s: float) -> datetime:
    """The aware UTC datetime of epoch seconds."""
    return datetime.fromtimestamp(time_s, UTC)


def zone_of(name: str) -> tzinfo:
    """The time zone of a name such as "Europe/Berlin", by the machine's own tables. Raises InvalidInput."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError) as error:
        raise InvalidInput(f'time zone: expected a name such as "Europe/Berlin", saw {name!r}') from error


def parse_duration_s(text: str | float | int) -> float:
    """Seconds in "48h", "1h30m", "250ms" or a number of seconds. Raises InvalidInput on anything else or negative."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        if text < 0:
            raise InvalidInput(f"duration: expected zero or more seconds, saw {text!r}", seen=text)
        return float(text)
    parts = _DURATION.findall(str(text))
    if not parts or "".join(number + unit for number, unit in parts) != str(text).replace(" ", ""):
        raise InvalidInput(f'duration: expected a form like "48h", "1h30m" or "250ms", saw {text!r}', seen=text)
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def format_duration(seconds: float) -> str:
    """A duration as people say it: "48h", "1h30m", "2.5s"; the two biggest units at most."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}".rstrip("0").rstrip(".") + "s"
    left, parts = round(seconds), []
    for unit in ("d", "h", "m", "s"):
        count, left = divmod(left, int(_UNITS_S[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2])
