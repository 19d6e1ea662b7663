"""The store that objects live on, found by what a program says about it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack

from holdfast.clock import Clock
from holdfast.errors import InvalidInput
from holdfast.merge import FieldPolicy
from holdfast.state.names import OBJECT
from holdfast.state.rules import outage_policies
from holdfast.store.contract.protocol import FallsBack, Store
from holdfast.store.contract.records import SHARED, SYSTEM_TENANT, Key, Scope
from holdfast.store.fallback.address import with_fallback
from holdfast.store.memory import MemoryStore
from holdfast.store.open import StateStorage, open_store

Declared = Mapping[str, Mapping[str, FieldPolicy]]
"""By path or prefix, and there by JSON pointer."""


async def opened(
    storage: str | StateStorage | Store,
    ends: AsyncExitStack,
    *,
    url: str,
    test_mode: bool,
    or_memory: bool,
    policies: Declared,
    clock: Clock | None,
) -> Store:
    """The store, which is closed with `ends` unless it was handed over open. Raises InvalidInput."""
    if test_mode:
        store: Store = MemoryStore(clock=clock)
    elif isinstance(storage, str | StateStorage):
        place = _url(storage, url)
        is_memory = place.partition(":")[0].lower() == StateStorage.MEMORY.value
        store = open_store(with_fallback(place) if or_memory and not is_memory else place, clock=clock)
    else:
        _merge_by(policies, storage)
        return storage
    ends.push_async_callback(store.close)
    _merge_by(policies, store)
    if or_memory:  # whether Redis is there is known from the start
        await store.read(Scope.system(), [Key(SYSTEM_TENANT, SHARED, OBJECT, "there")])
    return store


def _merge_by(policies: Declared, store: Store) -> None:
    if isinstance(store, FallsBack):
        store.merge_by(OBJECT, lambda key: outage_policies(key.id, policies))


def _url(storage: str | StateStorage, url: str) -> str:
    if isinstance(storage, str):
        return storage
    if not url and storage is not StateStorage.MEMORY:
        raise InvalidInput(f"StateManager: expected the url of a {storage.value} store, saw none", storage=storage)
    return url or "memory:"
