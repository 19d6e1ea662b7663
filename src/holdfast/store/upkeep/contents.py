"""All that a store holds, as plain values: what the memory store keeps, and what backups carry between back ends."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping

from holdfast.store.contract.history import History, Row, Stream
from holdfast.store.contract.records import Event, Key, Record, Scope
from holdfast.store.decisions.rules import Judgement, prefix_end, under_prefix
from holdfast.store.rows.copies import copy_kind, copy_prefix
from holdfast.store.rows.journal import kept_from

Family = tuple[str, str, str]
"""Tenant, user and kind: whose records of what."""


class Contents:
    """Rows, journals, streams, and where each trimmed journal was cut. Not safe against concurrent use."""

    def __init__(self, *, incarnation: int = 1) -> None:
        self.incarnation = incarnation
        self.rows: dict[Key, Row] = {}
        self.journals: dict[Key, list[Event]] = {}
        self.streams: dict[Stream, int] = {}
        self.anchors: dict[Key, str] = {}
        self._stream_events: dict[Stream, list[Event]] = {}
        self._ids: dict[Family, list[str]] = {}

    def put(self, key: Key, row: Row) -> None:
        """Keep `row` under `key`."""
        if key not in self.rows:
            insort(self._ids.setdefault(key[:3], []), key.id)
        self.rows[key] = row

    def append(self, event: Event) -> None:
        """Add `event` to its record's journal and its user's stream. Events of one stream come in order."""
        self.journals.setdefault(event.key, []).append(event)
        self._stream_events.setdefault((event.key.tenant, event.key.user), []).append(event)

    def apply(self, judgement: Judgement) -> None:
        """Carry out a judgement."""
        for removal in judgement.removed:
            self._remove((removal.tenant, removal.user, removal.kind), removal.prefix)
        for key, row in judgement.rows.items():
            self.put(key, row)
        for event in judgement.events:
            self.append(event)
        self.streams.update(judgement.streams)

    def journal(self, key: Key) -> list[Event]:
        """The events of one record, oldest first."""
        return self.journals.get(key, [])

    def stream(self, stream: Stream) -> list[Event]:
        """The events of one user, oldest first."""
        return self._stream_events.get(stream, [])

    def records(self, scope: Scope, kind: str) -> Iterator[Record]:
        """The records of one kind inside `scope`, in no order that matters."""
        for (tenant, user, its_kind), ids in self._ids.items():
            if its_kind != kind or not scope.covers(Key(tenant, user, kind, "")):
                continue
            for id_ in ids:
                row = self.rows[Key(tenant, user, kind, id_)]
                if not row.deleted and row.record is not None:
                    yield row.record

    def histories(self) -> Iterator[History]:
        """Everything, record by record."""
        for key in sorted(self.rows.keys() | self.journals.keys()):
            yield self.history(key)

    def load(self, history: History) -> None:
        """Hold what `history` tells, in place of what is under its key."""
        key = history.key
        self.rows.pop(key, None)
        ids = self._ids.get(key[:3], [])
        if key.id in ids:
            ids.remove(key.id)
        gone = {event.digest for event in self.journals.pop(key, [])}
        stream = self._stream_events.setdefault((key.tenant, key.user), [])
        stream[:] = sorted(
            [event for event in stream if event.digest not in gone] + list(history.events),
            key=lambda event: event.position,
        )
        self.anchors.pop(key, None)
        if history.row is not None:
            self.put(key, history.row)
        if history.events:
            self.journals[key] = list(history.events)
        if history.anchor:
            self.anchors[key] = history.anchor

    def history(self, key: Key) -> History:
        """All that is held under one key."""
        return History(key=key, row=self.rows.get(key), events=self.journal(key), anchor=self.anchors.get(key, ""))

    def copies(self, key: Key) -> list[Record]:
        """What may be copies of the record under `key` (see `copies`), good or not."""
        family = (key.tenant, key.user, copy_kind(key))
        rows = [self.rows[Key(*family, id_)] for id_ in under_prefix(self._ids.get(family, ()), copy_prefix(key))]
        return [row.record for row in rows if row.record is not None and not row.deleted]

    def adopt(self, streams: Mapping[Stream, int], incarnation: int) -> None:
        """Number on behind `streams` and `incarnation`, where they are ahead of ours."""
        for stream, seq in streams.items():
            self.streams[stream] = max(seq, self.streams.get(stream, 0))
        self.incarnation = max(self.incarnation, incarnation)

    def trim(self, *, before_s: float, keep: int) -> int:
        """Drop what `journal.kept_from` lets go; how many events went."""
        dropped: set[str] = set()
        for key, events in tuple(self.journals.items()):
            cut = kept_from(events, before_s=before_s, keep=keep, is_gone=key not in self.rows)
            if cut == 0:
                continue
            dropped.update(event.digest for event in events[:cut])
            self.anchors[key] = events[cut - 1].digest
            del events[:cut]
            if not events:
                del self.journals[key], self.anchors[key]
        for events in self._stream_events.values():
            events[:] = [event for event in events if event.digest not in dropped]
        return len(dropped)

    def _remove(self, family: Family, prefix: str) -> None:
        ids = self._ids.get(family, [])
        end = prefix_end(prefix)
        first, last = bisect_left(ids, prefix), len(ids) if end is None else bisect_left(ids, end)
        for id_ in ids[first:last]:
            del self.rows[Key(*family, id_)]
        del ids[first:last]
        if family in self._ids and not ids:
            del self._ids[family]

    def __repr__(self) -> str:
        events = sum(len(events) for events in self.journals.values())
        return f"Contents(rows={len(self.rows)}, events={events}, incarnation={self.incarnation})"
