"""What this process has read or written last: all that it can start from when its server goes away."""

from __future__ import annotations

import threading
from collections import OrderedDict

from msgspec.structs import replace

from holdfast.store.contract.records import Change, Commit, Key, Put, Record, RemovePrefix
from holdfast.store.decisions.rules import moment
from holdfast.store.rows.digest import digest_of

RECORDS_MAX = 10_000
BYTES_MAX = 64 * 1024 * 1024
"""Bounds on what is kept in mind; what was looked at longest ago goes first."""

Family = tuple[str, str, str]
"""Tenant, user and kind."""


class Known:
    """The last version of each record that this process has seen. Usable from any thread."""

    def __init__(self, *, records_max: int = RECORDS_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._lock = threading.Lock()
        self._records: OrderedDict[Key, Record] = OrderedDict()
        self._ids: dict[Family, set[str]] = {}

    def keep(self, record: Record) -> None:
        """It was read."""
        with self._lock:
            self._put(record)

    def forget(self, key: Key) -> None:
        """There is no such record."""
        with self._lock:
            self._drop(key)

    def committed(self, change: Change, answer: Commit) -> list[Record]:
        """`change` was committed: the records that it made, as far as they can be told."""
        with self._lock:
            for removal in change.removes:
                self._remove(removal)
            made = []
            for number, write in enumerate(change.writes):
                if isinstance(write, Put):
                    epoch = answer.epochs[number] if answer.epochs else 0
                    made.append(_made(write, self._records.get(write.key), answer, answer.versions[number], epoch))
                    self._put(made[-1])
                else:
                    self._drop(write.key)
        return made

    def records(self) -> list[Record]:
        """All of them, each with a digest that fits."""
        with self._lock:
            found = list(self._records.values())
        return [record if record.digest else replace(record, digest=digest_of(record)) for record in found]

    def clear(self) -> None:
        """Nothing is known any more: everything was replaced."""
        with self._lock:
            self._records.clear()
            self._ids.clear()
            self._bytes = 0

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"Known(records={len(self._records)}, bytes={self._bytes})"

    def _put(self, record: Record) -> None:
        self._drop(record.key)
        self._records[record.key] = record
        self._ids.setdefault(record.key[:3], set()).add(record.key.id)
        self._bytes += len(record.body)
        while len(self._records) > self._records_max or self._bytes > self._bytes_max:
            self._drop(next(iter(self._records)))

    def _drop(self, key: Key) -> None:
        record = self._records.pop(key, None)
        if record is None:
            return
        self._bytes -= len(record.body)
        ids = self._ids[key[:3]]
        ids.discard(key.id)
        if not ids:
            del self._ids[key[:3]]

    def _remove(self, removal: RemovePrefix) -> None:
        family = (removal.tenant, removal.user, removal.kind)
        for id_ in [id_ for id_ in self._ids.get(family, ()) if id_.startswith(removal.prefix)]:
            self._drop(Key(*family, id_))


def _made(put: Put, before: Record | None, answer: Commit, version: int, epoch: int) -> Record:
    """The record that a write made. Its chain is the server's to know, and its digest is taken where it is needed."""
    kept = "" if before is None else before.owner
    return Record(
        key=put.key,
        version=version,
        body=put.body,
        status=put.status,
        due=None if put.due is None else moment(put.due),
        queue=put.queue,
        owner=kept if put.owner is None else put.owner,
        epoch=epoch,
        labels=dict(put.labels),
        change_id=answer.change_id,
        written_at=answer.at,
    )
