"""What waits for the writer: bounded, fair to senders, and never out of order where two changes share a key.

Each sender has a lane, first come first served; lanes take turns. A change that shares a key with an earlier one of
another lane waits for it. Pure bookkeeping: its owner holds a lock around every call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

from holdfast.errors import Unavailable
from holdfast.store.contract.records import Change, Key
from holdfast.store.decisions.rules import keys_of

Waiter = TypeVar("Waiter")
Sender = tuple[str | None, str | None]
"""Tenant and user of the scope that a change came with."""

_TAKEN_BACK: Sender = ("\0", "\0")
"""The lane of what was taken and not written; no scope has such a name."""

QUEUE_ROWS_MAX = 200_000
"""Bound on the rows that wait."""
QUEUE_BYTES_MAX = 256 * 1024 * 1024
"""Bound on the payload bytes that wait."""
BATCH_CHANGES_MAX = 512
"""Bound on the changes of one batch."""
BATCH_ROWS_MAX = 4096
"""Bound on the rows of one batch of several changes."""
BATCH_BYTES_MAX = 8 * 1024 * 1024
"""Bound on the payload bytes of one batch of several changes."""


class Entry(Generic[Waiter]):
    """One change that waits, and who waits for its answer."""

    __slots__ = ("after", "bytes", "change", "is_taken", "keys", "sender", "waiter")

    def __init__(self, change: Change, waiter: Waiter, *, payload_bytes: int) -> None:
        self.change = change
        self.waiter = waiter
        self.bytes = payload_bytes
        self.sender: Sender = (None, None)
        self.keys = _ordered_by(change)
        self.after: list[Entry[Waiter]] = []
        self.is_taken = False


class Intake(Generic[Waiter]):
    """The queue in front of a writer."""

    def __init__(
        self,
        *,
        rows_max: int = QUEUE_ROWS_MAX,
        bytes_max: int = QUEUE_BYTES_MAX,
        batch_changes_max: int = BATCH_CHANGES_MAX,
    ) -> None:
        self._batch_changes_max = batch_changes_max
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self._lanes: dict[Sender, deque[Entry[Waiter]]] = {}
        self._last: dict[Key, Entry[Waiter]] = {}
        self._count = 0
        self._rows = 0
        self._bytes = 0

    def put(self, sender: Sender, entry: Entry[Waiter]) -> None:
        """Queue `entry`, sent by `sender`. Raises Unavailable if there is no room."""
        rows = self._rows + len(entry.keys)
        if self._count and (rows > self._rows_max or self._bytes + entry.bytes > self._bytes_max):
            raise Unavailable(
                f"store: its queue is full ({self._count} changes, {self._rows} rows, {self._bytes} bytes);"
                " try again when the disk has caught up",
                rows=self._rows,
                bytes=self._bytes,
            )
        entry.sender = sender
        for key in entry.keys:
            if (earlier := self._last.get(key)) is not None:
                entry.after.append(earlier)
            self._last[key] = entry
        self._lanes.setdefault(sender, deque()).append(entry)
        self._count += 1
        self._rows = rows
        self._bytes += entry.bytes

    def take(self, *, at_most: int = BATCH_CHANGES_MAX) -> list[Entry[Waiter]]:
        """The next batch of `at_most` changes, in an order that respects shared keys; empty if nothing waits."""
        changes_max = min(at_most, self._batch_changes_max)
        batch: list[Entry[Waiter]] = []
        rows = size = 0
        while self._lanes:
            progress = False
            for sender in list(self._lanes):
                entry = self._lanes[sender][0]
                if any(not earlier.is_taken for earlier in entry.after):
                    continue  # an earlier change of another lane goes first
                if batch and _would_overfill(len(batch), rows + len(entry.keys), size + entry.bytes, changes_max):
                    return batch
                self._remove(sender, entry)
                batch.append(entry)
                rows += len(entry.keys)
                size += entry.bytes
                progress = True
            assert progress, "the oldest entry can always go: it waits for nobody"
        return batch

    def put_back(self, batch: Sequence[Entry[Waiter]]) -> None:
        """Queue again what was taken and not written, before everything else and as one lane, which keeps its order."""
        if not batch:
            return
        for entry in batch:
            entry.is_taken = False
            for key in entry.keys:
                self._last.setdefault(key, entry)
        self._lanes = {_TAKEN_BACK: deque([*batch, *self._lanes.pop(_TAKEN_BACK, ())]), **self._lanes}
        self._count += len(batch)
        self._rows += sum(len(entry.keys) for entry in batch)
        self._bytes += sum(entry.bytes for entry in batch)

    def take_all(self) -> list[Entry[Waiter]]:
        """Everything that waits, for nobody will write it."""
        entries = [entry for lane in self._lanes.values() for entry in lane]
        self._lanes.clear()
        self._last.clear()
        self._count = self._rows = self._bytes = 0
        return entries

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"Intake(changes={self._count}, rows={self._rows}, bytes={self._bytes}, senders={len(self._lanes)})"

    def _remove(self, sender: Sender, entry: Entry[Waiter]) -> None:
        lane = self._lanes.pop(sender)
        lane.popleft()
        if lane:
            self._lanes[sender] = lane  # to the end of the round
        for key in entry.keys:
            if self._last.get(key) is entry:
                del self._last[key]
        entry.is_taken = True
        entry.after.clear()
        self._count -= 1
        self._rows -= len(entry.keys)
        self._bytes -= entry.bytes


def _would_overfill(changes: int, rows: int, size: int, changes_max: int) -> bool:
    return changes >= changes_max or rows > BATCH_ROWS_MAX or size > BATCH_BYTES_MAX


def _ordered_by(change: Change) -> Sequence[Key]:
    """The keys that order `change` among others. A removal stands for all of its kind, and so every write does too."""
    keys = dict.fromkeys(keys_of(change))
    for removal in change.removes:
        keys[Key(removal.tenant, removal.user, removal.kind, "")] = None
    for write in change.writes:
        keys[Key(write.key.tenant, write.key.user, write.key.kind, "")] = None
    return tuple(keys)
