"""Identifiers: UUID version 7, which sort by the time of their making, drawn from injected chance."""

from __future__ import annotations

import uuid

from holdfast.clock import Clock, Randomness


def uuid7(clock: Clock, randomness: Randomness) -> str:
    """A UUIDv7 as text: 48 bits of milliseconds, 74 of chance. Source: RFC 9562, 5.7."""
    millis = int(clock.time_s() * 1000) & ((1 << 48) - 1)
    chance = randomness.getrandbits(74)
    value = (millis << 80) | (0x7 << 76) | ((chance >> 62) << 64) | (0b10 << 62) | (chance & ((1 << 62) - 1))
    return str(uuid.UUID(int=value))


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID in its canonical form."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
