"""What must hold of shared state: no increment is lost or counted twice, and what is transferred keeps its sum."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from holdfast.state.names import OBJECT
from holdfast.state.objects import held
from holdfast.store.contract.records import Key
from holdfast.testing.simulation.checks import Seen

COUNTER = "counter"
PURSE = "purse"
PURSES = ("purse/left", "purse/right")
TOTAL = 100
"""What is in both purses."""


class Counts:
    """The value of a counter is the number of its updates: each update is a version, and adds one."""

    def see(self, seen: Seen) -> Iterator[str]:
        for key, record in seen.records.items():
            if key.kind != OBJECT or key.id != COUNTER or (there := held(record)) is None:
                continue
            if there.stored.value != there.version:
                yield f"{key}: expected {there.version} after as many updates, saw {there.stored.value}"


class Purses:
    """What one purse lost, the other one has."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], dict[str, int]] = {}

    def see(self, seen: Seen) -> Iterator[str]:
        touched: dict[tuple[str, str], None] = {}
        for key, record in seen.records.items():
            if key.kind != OBJECT or key.id not in PURSES:
                continue
            whose = (key.tenant, key.user)
            there, known = held(record), self._known.setdefault(whose, {})
            touched[whose] = None
            if there is None:
                known.pop(key.id, None)
            else:
                known[key.id] = there.stored.value
        for whose in touched:
            known = self._known[whose]
            if known and (len(known) < len(PURSES) or sum(known.values()) != TOTAL):
                yield f"purses of {whose}: expected {TOTAL} in both, saw {known}"


class Tally(NamedTuple):
    """What users know of one counter: what was acknowledged, and of how much nobody knows."""

    acknowledged: int
    uncertain: int


def miscounted(key: Key, value: int, tally: Tally) -> Iterable[str]:
    """Words about a counter that does not have what was acknowledged, or has more than anybody asked for."""
    most = tally.acknowledged + tally.uncertain
    if not tally.acknowledged <= value <= most:
        yield f"{key}: expected {tally.acknowledged} to {most} increments, saw {value}"
