"""The store that objects live on, found by what a program says about it."""

from __future__ import annotations

from contextlib import AsyncExitStack

from holdfast.clock import Clock
from holdfast.errors import InvalidInput, Unavailable
from holdfast.logs import get_logger
from holdfast.state.names import OBJECT
from holdfast.store.memory import MemoryStore
from holdfast.store.open import StateStorage, open_store
from holdfast.store.protocol import Store
from holdfast.store.records import SHARED, SYSTEM_TENANT, Key, Scope

log = get_logger("holdfast.state")


async def opened(
    storage: str | StateStorage | Store,
    ends: AsyncExitStack,
    *,
    url: str,
    test_mode: bool,
    or_memory: bool,
    clock: Clock | None,
) -> tuple[Store, str]:
    """The store, which is closed with `ends` unless it was handed over open; and what it is not, in words."""
    if test_mode:
        return _own(MemoryStore(clock=clock), ends), ""
    if not isinstance(storage, str | StateStorage):
        return storage, ""
    store = open_store(_url(storage, url), clock=clock)
    if or_memory:
        try:
            await store.read(Scope.system(), [Key(SYSTEM_TENANT, SHARED, OBJECT, "there")])
        except Unavailable as error:
            await store.close()
            log.warning("state is kept in memory only", why=error.message)
            words = f"in memory only, as the store could not be reached: {error.message}"
            return _own(MemoryStore(clock=clock), ends), words
    ends.push_async_callback(store.close)
    return store, ""


def _own(store: MemoryStore, ends: AsyncExitStack) -> Store:
    ends.push_async_callback(store.close)
    return store


def _url(storage: str | StateStorage, url: str) -> str:
    if isinstance(storage, str):
        return storage
    if not url and storage is not StateStorage.MEMORY:
        raise InvalidInput(f"StateManager: expected the url of a {storage.value} store, saw none", storage=storage)
    return url or "memory:"
