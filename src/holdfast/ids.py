"""Identifiers: UUID version 7, which sort by the time of their making, drawn from injected chance."""

from __future__ import annotations

import uuid

from holdfast.clock import Clock, Randomness

DIGITS = 20
"""Hexadecimal ones in the id of a change: 80 bits, of which a thousand million changes of one process draw two alike in
one of two million such processes."""
DRAWN_AT_ONCE = 64


def uuid7(clock: Clock, randomness: Randomness) -> str:
    """A UUIDv7 as text: 48 bits of milliseconds, 74 of chance. Source: RFC 9562, 5.7."""
    millis = int(clock.time_s() * 1000) & ((1 << 48) - 1)
    chance = randomness.getrandbits(74)
    value = (millis << 80) | (0x7 << 76) | ((chance >> 62) << 64) | (0b10 << 62) | (chance & ((1 << 62) - 1))
    return str(uuid.UUID(int=value))


class ChangeIds:
    """Ids of the changes of one process: its own id, and 80 bits of chance. Half a microsecond each.

    Users see them, so no number is in them: by two of his own a user would know how much others did in between.
    """

    def __init__(self, process_id: str, randomness: Randomness) -> None:
        self._process_id = process_id
        self._randomness = randomness
        self._drawn: list[str] = []

    def new(self) -> str:
        """One that nobody has."""
        while not self._drawn:
            digits = f"{self._randomness.getrandbits(4 * DIGITS * DRAWN_AT_ONCE):0{DIGITS * DRAWN_AT_ONCE}x}"
            self._drawn = [digits[start : start + DIGITS] for start in range(0, len(digits), DIGITS)]
        return f"{self._process_id}:{self._drawn.pop()}"


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID in its canonical form."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
