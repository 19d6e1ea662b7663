"""What this process remembers of the rows it wrote or read last, so that most batches need not ask before they write.

A batch judged by memory is written only where the database finds every remembered row unchanged, so a memory that is
out of date costs a second try and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from holdfast.store.contract.history import Row, Stream
from holdfast.store.contract.records import ABSENT, Change, Key, Put
from holdfast.store.decisions.rules import Judgement, keys_of, streams_of, wholes
from holdfast.store.postgres.tables import Known


class Heads:
    """Heads of rows and last numbers of streams, at most `heads_max` of each; beyond them the oldest go. Rows that are
    written once, such as memos, are not worth a place."""

    def __init__(self, *, heads_max: int) -> None:
        self._heads_max = heads_max
        self._heads: dict[Key, tuple[Row, str]] = {}
        self._streams: dict[Stream, int] = {}
        self._incarnation: int | None = None

    def known(self, changes: Sequence[Change]) -> Known | None:
        """What judging `changes` needs, or None where some of it must be read."""
        if self._incarnation is None:
            return None
        rows: dict[Key, Row] = {}
        digests: dict[Key, str] = {}
        streams: dict[Stream, int] = {}
        for change in changes:
            if any(require.version == ABSENT for require in change.requires) or wholes(change):
                return None
            made = {write.key for write in change.writes if isinstance(write, Put) and write.expect == ABSENT}
            for key in keys_of(change):
                if (head := self._heads.get(key)) is not None:
                    rows[key], digests[key] = head
                elif key not in made:
                    return None
            for stream in streams_of(change):
                if (seq := self._streams.get(stream)) is None:
                    return None
                streams[stream] = seq
        return Known(rows, digests, streams, self._incarnation, 0.0)

    def learn(self, known: Known, judgement: Judgement) -> None:
        """A batch judged against `known` was committed."""
        self._incarnation = known.incarnation
        for key, row in known.rows.items():
            if key not in judgement.rows:
                self._put(key, row._replace(record=None), known.digests[key])
        self.written(row for key, row in judgement.rows.items() if row.epoch or key in known.rows)
        self._streams.update(judgement.streams)
        if len(self._streams) > self._heads_max:
            self._streams.clear()

    def written(self, rows: Iterable[Row]) -> None:
        """These rows were written."""
        for row in rows:
            assert row.record is not None, "what is written is written whole"
            self._put(row.record.key, row._replace(record=None), row.record.digest)

    def forget(self, known: Known) -> None:
        """Some of this is out of date."""
        self._incarnation = None
        for key in known.rows:
            self._heads.pop(key, None)
        for stream in known.streams:
            self._streams.pop(stream, None)

    def _put(self, key: Key, row: Row, digest: str) -> None:
        self._heads.pop(key, None)  # to the end, with the newest
        self._heads[key] = (row, digest)
        if len(self._heads) > self._heads_max:
            del self._heads[next(iter(self._heads))]

    def __repr__(self) -> str:
        return f"Heads({len(self._heads)} rows, {len(self._streams)} streams)"
