"""Every store and every wrapper passes the whole contract."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.clock import Clock
from holdfast.store.memory import MemoryStore
from holdfast.store.sqlite.store import SqliteStore
from holdfast.testing.conformance import AdminContract, EquivalenceContract, StoreContract
from holdfast.testing.faulty_store import FaultyStore

Opening = Callable[..., Any]


def memory(_: Path, clock: Clock | None = None) -> MemoryStore:
    return MemoryStore(clock=clock)


def sqlite(place: Path, clock: Clock | None = None) -> SqliteStore:
    return SqliteStore(place / "store.db", clock=clock)


@pytest.fixture(params=[memory, sqlite], ids=lambda backend: backend.__name__)
def backend(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """How a back end is opened on a folder."""
    opening: Callable[..., Any] = request.param
    return opening


class TestBackEnds(StoreContract, AdminContract):
    @pytest.fixture
    def open_store(self, backend: Opening, tmp_path: Path) -> Opening:
        return lambda clock=None: backend(tmp_path, clock)


class TestWrapper(StoreContract):
    """A wrapper that does nothing wrong must do everything right."""

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Opening:
        return lambda clock=None: FaultyStore(MemoryStore(clock=clock))


class TestEquivalence(EquivalenceContract):
    @pytest.fixture
    def fresh_store(self, tmp_path: Path) -> Opening:
        numbers = itertools.count()

        def fresh(clock: Clock) -> SqliteStore:
            place = tmp_path / f"{next(numbers)}"
            place.mkdir()
            return sqlite(place, clock)

        return fresh
