"""The judgement of a batch: which changes win, which lose and why, and what rows, events and streams result.

Pure, and shared by every back end: a store reads the rows of all keys involved, asks `judge`, and writes the answer.
The changes are judged in order and each sees what earlier winners wrote, as if they had committed one by one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from holdfast.errors import Conflict, Fenced
from holdfast.store.contract.history import Row, Stream
from holdfast.store.contract.records import (
    Change,
    Claim,
    Commit,
    Delete,
    Event,
    Key,
    NewEvent,
    Position,
    Put,
    Record,
    RemovePrefix,
)
from holdfast.store.rows.digest import digest_of, event_digest, event_payload, record_digest

TIME_S_MAX = 2.0**32
"""Bound on every stored time: the year 2106."""


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a batch: an answer per change, and what to write, in this order: removals, rows, events, streams.

    `rows` holds the final row of each key written, `streams` the last sequence number of each stream that grew.
    """

    answers: tuple[Commit | Conflict | Fenced, ...]
    removed: tuple[RemovePrefix, ...]
    rows: dict[Key, Row]
    events: tuple[Event, ...]
    streams: dict[Stream, int]


def moment(time_s: float) -> float:
    """`time_s` to the microsecond, as stores keep it: exact both ways for TIME_S_MAX seconds about the epoch."""
    return round(time_s * 1_000_000) / 1_000_000


def keys_of(change: Change) -> list[Key]:
    """Every key whose row the judgement of `change` needs."""
    keys = [write.key for write in change.writes]
    keys += [require.key for require in change.requires]
    keys += [event.key for event in change.events]
    return keys


def wholes(change: Change) -> list[Key]:
    """Keys whose whole record is needed: they get an event without being written, so their digest changes."""
    if not change.events:
        return []
    written = {write.key for write in change.writes}
    return [event.key for event in change.events if event.key not in written]


def streams_of(change: Change) -> list[Stream]:
    """The streams that `change` appends to."""
    return [(event.key.tenant, event.key.user) for event in change.events]


def row_of(record: Record, *, deleted: bool = False) -> Row:
    """The row that holds `record`."""
    return Row(record.version, record.epoch, record.owner, record.chain, deleted, record)


def judge(
    changes: Sequence[Change],
    rows: Mapping[Key, Row],
    streams: Mapping[Stream, int],
    *,
    at: float,
    incarnation: int,
) -> Judgement:
    """Judge `changes` in order against `rows` and the last sequence numbers of `streams`; the inputs stay as they are.

    A change that loses alters nothing and hurts nobody else. `at`: the store's time in epoch seconds.
    """
    board = _Board(changes, rows, streams, at=moment(at), incarnation=incarnation)
    answers = tuple(board.refusal(change) or board.apply(change) for change in changes)
    return Judgement(
        answers=answers,
        removed=tuple(board.removed),
        rows={key: row for key in board.written if (row := board.rows[key]) is not None},
        events=tuple(board.events),
        streams=board.grown,
    )


def claimed(record: Record, claim: Claim) -> Record:
    """`record` as `claim` leaves it: owned anew, its epoch one higher and its version the same."""
    due = record.due if claim.due_after is None else moment(claim.due_after)
    taken = msgspec.structs.replace(record, owner=claim.owner, epoch=record.epoch + 1, due=due)
    return msgspec.structs.replace(taken, digest=digest_of(taken))


def prefix_end(prefix: str) -> str | None:
    """The least text greater than every text that starts with `prefix`; None if there is none.

    Text is ordered by code points, which is the order of its UTF-8 bytes.
    """
    for length in range(len(prefix), 0, -1):
        sign = ord(prefix[length - 1])
        if sign < 0x10FFFF:
            following = 0xE000 if sign == 0xD7FF else sign + 1  # surrogates are no characters
            return prefix[: length - 1] + chr(following)
    return None


def sorted_ids(keys: Iterable[Key]) -> dict[tuple[str, str, str], list[str]]:
    """The ids of `keys` by (tenant, user, kind), each list sorted: what a removal by prefix looks through."""
    families: dict[tuple[str, str, str], list[str]] = {}
    for key in keys:
        families.setdefault(key[:3], []).append(key.id)
    for ids in families.values():
        ids.sort()
    return families


def under_prefix(ids: Sequence[str], prefix: str) -> Sequence[str]:
    """Those of the sorted `ids` that start with `prefix`."""
    end = prefix_end(prefix)
    return ids[bisect_left(ids, prefix) : len(ids) if end is None else bisect_left(ids, end)]


class _Board:
    """The rows as the batch has changed them so far."""

    def __init__(
        self,
        changes: Sequence[Change],
        rows: Mapping[Key, Row],
        streams: Mapping[Stream, int],
        *,
        at: float,
        incarnation: int,
    ) -> None:
        self.rows: dict[Key, Row | None] = {key: rows.get(key) for change in changes for key in keys_of(change)}
        self.written: dict[Key, None] = {}
        self.removed: list[RemovePrefix] = []
        self.events: list[Event] = []
        self.grown: dict[Stream, int] = {}
        self._streams = streams
        self._at = at
        self._incarnation = incarnation
        self._ids: dict[tuple[str, str, str], list[str]] | None = None

    def refusal(self, change: Change) -> Conflict | Fenced | None:
        """Why `change` loses, or None."""
        for require in change.requires:
            if refused := _refused(require.key, self.rows[require.key], require.version, require.epoch):
                return refused
        for write in change.writes:
            if refused := _refused(write.key, self.rows[write.key], write.expect, write.epoch):
                return refused
        if change.events:
            put = {write.key for write in change.writes if isinstance(write, Put)}
            for event in change.events:
                if event.key not in put and self.rows[event.key] is None:
                    return Conflict(
                        f"{event.key}: expected a record to journal {event.name} for, found none",
                        key=event.key,
                        expected=None,
                        seen=0,
                    )
        return None

    def apply(self, change: Change) -> Commit:
        """Carry out `change`, which nothing refuses."""
        for removal in change.removes:
            self._remove(removal)
        drafts = {write.key: self._drafted(write) for write in change.writes}
        chains, position = self._journal(change, drafts) if change.events else ({}, None)
        for write in change.writes:
            self._write(write, drafts[write.key], change.change_id, chains.pop(write.key, None))
        for key, chain in chains.items():
            self._rechain(key, chain)
        return Commit(
            change_id=change.change_id,
            at=self._at,
            versions=tuple(drafts[write.key].version if isinstance(write, Put) else 0 for write in change.writes),
            epochs=tuple(drafts[write.key].epoch if isinstance(write, Put) else 0 for write in change.writes),
            position=position,
        )

    def _remove(self, removal: RemovePrefix) -> None:
        if self._ids is None:
            self._ids = sorted_ids(self.rows)
        self.removed.append(removal)
        tenant, user, kind, prefix = removal.tenant, removal.user, removal.kind, removal.prefix
        for id_ in under_prefix(self._ids.get((tenant, user, kind), ()), prefix):
            self.rows[Key(tenant, user, kind, id_)] = None

    def _drafted(self, write: Put | Delete) -> Row:
        """The row after `write`, but for its chain and record."""
        row = self.rows[write.key]
        version, epoch, kept = (0, 0, "") if row is None else (row.version, row.epoch, row.owner)
        chain = "" if row is None else row.chain
        if isinstance(write, Delete):
            changes = row is not None and not row.deleted
            return Row(version + 1 if changes else version, epoch, "", chain, True)
        owner = kept if write.owner is None else write.owner
        return Row(version + write.folded, epoch + write.raise_epoch, owner, chain, False)

    def _journal(self, change: Change, drafts: Mapping[Key, Row]) -> tuple[dict[Key, str], Position]:
        """Append the events of `change`; the new chain of each key, and the last position."""
        chains: dict[Key, str] = {}
        position = Position(self._incarnation, 0)
        left = {write.key: write.folded for write in change.writes if isinstance(write, Put) and write.folded > 1}
        for new in change.events:
            row = drafts.get(new.key) or self.rows[new.key]
            assert row is not None, f"{new.key}: journalled without a row, which refusal() rules out"
            stream = (new.key.tenant, new.key.user)
            seq = (self.grown.get(stream) or self._streams.get(stream, 0)) + 1
            self.grown[stream] = seq
            position = Position(self._incarnation, seq)
            version = row.version
            if new.key in left:  # one of the updates that were folded into the write
                left[new.key] -= 1
                version -= left[new.key]
            event = self._event(new, version, position, chains.get(new.key, row.chain), change.change_id)
            chains[new.key] = event.digest
            self.events.append(event)
        return chains, position

    def _event(self, new: NewEvent, version: int, position: Position, previous: str, change_id: str) -> Event:
        digest = event_digest(
            new.key,
            position,
            version,
            new.name,
            change_id=change_id,
            at=self._at,
            previous=previous,
            payload=event_payload(new.body, new.delta),
        )
        return Event(
            key=new.key,
            position=position,
            version=version,
            name=new.name,
            body=new.body,
            delta=new.delta,
            change_id=change_id,
            at=self._at,
            previous=previous,
            digest=digest,
        )

    def _write(self, write: Put | Delete, draft: Row, change_id: str, chain: str | None) -> None:
        before = self.rows[write.key]
        chain = draft.chain if chain is None else chain
        if isinstance(write, Put):
            record = _sealed(write, draft, change_id, self._at, chain)
        elif before is None or (before.deleted and chain == before.chain):
            return  # nothing there to delete, nothing said about it: no row changes
        else:
            record = _tombstone(write.key, draft, change_id, self._at, chain)
        self.rows[write.key] = Row(draft.version, draft.epoch, draft.owner, chain, draft.deleted, record)
        self.written[write.key] = None

    def _rechain(self, key: Key, chain: str) -> None:
        """Move the chain of a record that has a new event but was not written: its version stays. One that is damaged
        keeps the digest that does not fit: a new one, over its bytes as they are, would make the damage good."""
        row = self.rows[key]
        assert row is not None, f"{key}: journalled without a row, which refusal() rules out"
        assert row.record is not None, f"{key}: its whole record must be read, see wholes()"
        is_sound = digest_of(row.record, deleted=row.deleted) == row.record.digest
        record = msgspec.structs.replace(row.record, chain=chain)
        if is_sound:
            record = msgspec.structs.replace(record, digest=digest_of(record, deleted=row.deleted))
        self.rows[key] = row._replace(chain=chain, record=record)
        self.written[key] = None


def _refused(key: Key, row: Row | None, version: int | None, epoch: int | None) -> Conflict | Fenced | None:
    """Why a precondition does not hold. The epoch is looked at first: who lost ownership must stop, not re-read."""
    there = None if row is None or row.deleted else row
    if epoch is not None and (there is None or there.epoch != epoch):
        seen = None if there is None else there.epoch
        found = "no record" if there is None else f"epoch {there.epoch}"
        return Fenced(f"{key}: expected epoch {epoch}, found {found}", key=key, expected=epoch, seen=seen)
    if version is not None and version != (0 if there is None else there.version):
        seen_version = 0 if there is None else there.version
        expected = f"version {version}" if version else "no record"
        found = f"{seen_version}" if there is not None else "none"
        return Conflict(f"{key}: expected {expected}, found {found}", key=key, expected=version, seen=seen_version)
    return None


def _sealed(put: Put, draft: Row, change_id: str, at: float, chain: str) -> Record:
    due = None if put.due is None else moment(put.due)
    digest = record_digest(
        put.key,
        draft.version,
        status=put.status,
        due=due,
        queue=put.queue,
        owner=draft.owner,
        epoch=draft.epoch,
        labels=put.labels,
        change_id=change_id,
        written_at=at,
        chain=chain,
        body=put.body,
        deleted=False,
    )
    return Record(
        key=put.key,
        version=draft.version,
        body=put.body,
        status=put.status,
        due=due,
        queue=put.queue,
        owner=draft.owner,
        epoch=draft.epoch,
        labels=dict(put.labels),
        change_id=change_id,
        written_at=at,
        chain=chain,
        digest=digest,
    )


def _tombstone(key: Key, draft: Row, change_id: str, at: float, chain: str) -> Record:
    record = Record(
        key=key,
        version=draft.version,
        body=b"",
        epoch=draft.epoch,
        change_id=change_id,
        written_at=at,
        chain=chain,
    )
    return msgspec.structs.replace(record, digest=digest_of(record, deleted=True))
