"""What survives. Records with versions, changes that commit whole or not at all, a journal whose rows chain together.

`protocol` and `records` are the contract; `holdfast.testing.conformance` states it as tests. `rules` judges a batch of
changes and is pure, and every back end carries its judgement out: `memory` (the model), and the folders `sqlite`,
`postgres`, `redis` and `mirror`. `intake` and `committer` make one commit of what queued up. `archive`, `copy`, `mend`
and `audit` keep, move, repair and check whole stores of any kind. `open_store` turns a URL into a store,
`commit_surely` commits once even where an answer gets lost.
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
