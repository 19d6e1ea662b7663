"""What survives. Records with versions, changes that commit whole or not at all, a journal whose rows chain together.

Its folders are stairs, each above those that it may use. `contract` is what a store is asked for, `rows` how things lie
in a record. `decisions` is pure: `decisions/rules.py` judges a batch of changes, and each back end carries out what it
says. `writing` makes one commit of what queued up, `servers` stands before a server that may be away, `upkeep` checks,
mends and copies whole stores. Above them are the back ends: `sqlite`, whose file every backup is, `memory` (the model),
`postgres`, `redis`; and the stores in front of others: `wrapping` (with the codec), `fallback`, `mirror`. In front
stand the doors: `open` turns a URL into a store, `liveness` tells whether a process of this host lives.
"""

from holdfast.store.contract.protocol import OpenStore, Store, StoreAdmin
from holdfast.store.liveness import FileLiveness
from holdfast.store.memory.store import MemoryStore
from holdfast.store.open import StateStorage, open_store
from holdfast.store.sqlite.store import SqliteStore
from holdfast.store.writing.outcome import commit_surely, resolve

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
