"""How each back end is opened on a fresh place, for tests that go through pairs of them: one line a back end."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

from holdfast.clock import Clock
from holdfast.store.memory import MemoryStore
from holdfast.store.open import OpenStore
from holdfast.store.sqlite.store import SqliteStore

Opener = Callable[[Path, Clock | None], OpenStore]
"""A store in a folder of its own, as the other openers' stores on the given clock."""

_numbers = itertools.count()

OPENERS: Mapping[str, Opener] = {
    "memory": lambda folder, clock: MemoryStore(clock=clock),
    "sqlite": lambda folder, clock: SqliteStore(folder / f"{next(_numbers)}.db", clock=clock),
}
PAIRS = [(source, target) for source in OPENERS for target in OPENERS]
