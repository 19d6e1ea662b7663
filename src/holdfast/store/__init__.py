"""What survives. Records with versions, changes that commit whole or not at all, a journal whose rows chain together.

`rules` judges a batch of changes and is pure; `memory` (the model) and `sqlite` carry its judgement out. `protocol`
and `records` are the contract; `holdfast.testing.conformance` states it as tests. `open_store` turns a URL into a
store, `commit_surely` commits once even where an answer gets lost.
"""

from holdfast.store.liveness import FileLiveness
from holdfast.store.memory import MemoryStore
from holdfast.store.open import OpenStore, StateStorage, open_store
from holdfast.store.outcome import commit_surely, resolve
from holdfast.store.protocol import Store, StoreAdmin
from holdfast.store.sqlite.store import SqliteStore

__all__ = [
    "FileLiveness",
    "MemoryStore",
    "OpenStore",
    "SqliteStore",
    "StateStorage",
    "Store",
    "StoreAdmin",
    "commit_surely",
    "open_store",
    "resolve",
]
