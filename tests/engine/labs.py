"""Names that the engine's tests share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable
from typing import Protocol

import pytest

from holdfast import RunContext, Workflow
from holdfast.testing import Lab


class OpenLab(Protocol):
    """What the fixture `open_lab` gives: opens a lab on a fresh store; options are the lab's."""

    def __call__(self, *workflows: Workflow, **options: object) -> Awaitable[Lab]: ...


ON_MEMORY = pytest.mark.parametrize("open_lab", ["memory", "cold"], indirect=True)
"""For days of virtual time: on a shared store the heartbeat and the look-out of every second would be run through."""

ON_ALL = pytest.mark.parametrize("open_lab", ["memory", "cold", "sqlite", "postgresql"], indirect=True)
"""For what is promised by a commit, and so by each kind of store."""

EVERYWHERE = pytest.mark.parametrize(
    "open_lab", ["memory", "cold", "sqlite", "postgresql", "redis", "mirror"], indirect=True
)
"""For what is promised by many records together: each kind of store has its own way to judge them at once."""


class World:
    """What steps touch outside: counts calls by name, and honours idempotency keys as a good receiver does."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.keys: dict[str, list[str]] = {}
        self._made: dict[str, str] = {}

    def do(self, name: str) -> int:
        """Count one call; how many there were."""
        self.calls[name] += 1
        return self.calls[name]

    def make(self, name: str, *, key: str) -> str:
        """Make something once per key; its number."""
        self.do(name)
        self.keys.setdefault(name, []).append(key)
        return self._made.setdefault(key, f"{name}-{len(self._made) + 1}")

    @property
    def made(self) -> int:
        """How many different things were made."""
        return len(self._made)


async def nothing(ctx: RunContext) -> None:
    """A handler that has nothing to do."""
