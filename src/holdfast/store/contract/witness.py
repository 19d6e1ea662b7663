"""Who looks on while a store commits: how a cache keeps up with the truth it stands in front of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from holdfast.store.contract.history import Row
from holdfast.store.contract.records import Key, RemovePrefix


class CommitWitness(Protocol):
    """Told of every commit of one process's store."""

    def must_raise(self) -> bool:
        """Asked inside each transaction that writes: whether that transaction is to raise the cache generation, so
        that nobody believes what was cached before it."""
        ...

    def written(self, rows: Mapping[Key, Row], removed: Sequence[RemovePrefix]) -> None:
        """Told after COMMIT, on the loop that committed: the rows written, tombstones and claims among them, and the
        prefixes removed. Must be quick and must not raise."""
        ...
