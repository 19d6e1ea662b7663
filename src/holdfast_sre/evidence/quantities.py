"""Kubernetes quantities and ages as numbers."""

from __future__ import annotations

import re

_SUFFIXES = {
    "": 1.0,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
    "Pi": 2.0**50,
}
_QUANTITY = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)([a-zA-Z]{0,2})")
_AGE_PART = re.compile(r"([0-9]+)([smhdwy])")
_AGE_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}


def quantity(text: object) -> float | None:
    """Cores or bytes or a count, as `100m`, `64Mi` and `2` say it; None where the text is no quantity."""
    match = _QUANTITY.fullmatch(str(text).strip()) if text is not None else None
    if match is None or match[2] not in _SUFFIXES:
        return None
    return float(match[1]) * _SUFFIXES[match[2]]


def age_s(text: str) -> float | None:
    """Seconds in an age as kubectl prints it (`4d21h`, `2m18s`); None where it is none."""
    parts = _AGE_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        return None
    return float(sum(int(number) * _AGE_SECONDS[unit] for number, unit in parts))
