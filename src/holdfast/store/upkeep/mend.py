"""What is done about damage under one key: what is sound stays, what can be told is told anew, in words. Pure.

A record's digest is the judge: whatever has it is proven and is put back as it was. Where nothing has it, the record is
rebuilt as the newest sound source tells it, its journal or a copy (see `copies`), under a version higher than any
seen, without an owner and in a new epoch, so that whoever believes to own it is refused.

A damaged journal is cut behind its last damage: what is sound behind it stays, the anchor is what the first row of that
follows, and a row named `repaired` with the whole body goes to its end, so that the chain, and rebuilding, go on.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from holdfast import codec
from holdfast.errors import Corrupt, InvalidInput
from holdfast.store.contract.history import History, Row, Stream
from holdfast.store.contract.records import Event, Key, Position, Record
from holdfast.store.decisions.rules import TIME_S_MAX, moment, row_of
from holdfast.store.rows import journal
from holdfast.store.rows.copies import good_copies, is_copy
from holdfast.store.rows.digest import digest_of, digest_of_event, event_digest, event_payload
from holdfast.store.upkeep.audit import problems_of, sound_part

REPAIRED = "repaired"
"""The name of the journal row that tells of a repair."""


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """What can be done about the damage under one key: what the store is to hold there instead, or None if nothing
    can; and that in words."""

    history: History | None
    words: str

    @property
    def streams(self) -> dict[Stream, int]:
        """The number that the row of this repair took in its user's stream."""
        rows = self.history.events[-1:] if self.history is not None else ()
        return {(row.key.tenant, row.key.user): row.position.seq for row in rows if row.name == REPAIRED}


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What of a store needs a repair: the keys, and the streams whose last number lies behind what was numbered."""

    damaged: tuple[Key, ...]
    behind: dict[Stream, int]

    @property
    def words(self) -> list[str]:
        """What is done about the streams."""
        return [
            f"stream of {tenant}/{user}: it goes on behind number {seq}"
            for (tenant, user), seq in sorted(self.behind.items())
        ]


class _Source(NamedTuple):
    """A body that a record can be rebuilt with, and of which version it is."""

    version: int
    is_copy: bool
    body: Any
    words: str
    record: Record


class _Place(NamedTuple):
    """When, and where in its user's stream, a repair is journalled."""

    at: float
    position: Position


def survey(histories: Iterable[History], streams: Mapping[Stream, int]) -> Survey:
    """What needs a repair in `histories`, and in the last numbers of `streams`. Streams are to be put right first."""
    damaged = []
    behind: dict[Stream, int] = {}
    for history in histories:
        if is_damaged(history):
            damaged.append(history.key)
        for event in history.events:
            stream = (event.key.tenant, event.key.user)
            known = max(streams.get(stream, 0), behind.get(stream, 0))
            if event.position.seq > known and digest_of_event(event) == event.digest:
                behind[stream] = event.position.seq
    return Survey(damaged=tuple(damaged), behind=behind)


def surveyed_together(parts: Sequence[Survey]) -> Survey:
    """What surveys of the pages of one store found."""
    behind: dict[Stream, int] = {}
    for part in parts:
        for stream, seq in part.behind.items():
            behind[stream] = max(seq, behind.get(stream, 0))
    return Survey(damaged=tuple(key for part in parts for key in part.damaged), behind=behind)


def is_damaged(history: History) -> bool:
    """Whether `history` needs a repair."""
    return next(problems_of(history), None) is not None


def repair_of(history: History, copies: Sequence[Record], *, at: float, position: Position) -> Repair | None:
    """The repair that `history` needs, or None if nothing is wrong with it.

    `copies`: the records that may be copies of it, good or not. `at`: the store's time, `position`: the next place in
    the stream of its user, for a repair that is journalled.
    """
    problems = list(problems_of(history))
    if not problems:
        return None
    seen = "; ".join(str(problem) for problem in problems)
    part = sound_part(history)
    place = _Place(at, position)
    if history.row is None or history.row.record is None:
        kept = part if part.events else replace(part, anchor="")
        return Repair(history=kept, words=f"{history.key}: {_loss(history, part)}, and there is no record ({seen})")
    standing = _standing(history.row, part)
    if standing is not None:
        return _with_standing(history, part, standing, place)
    if history.row.deleted:
        return _buried(history, part, history.row.record, place)
    if is_copy(history.key):  # of no use now, and the older ones are as good as they were
        gone = History(key=history.key, row=None, events=())
        return Repair(history=gone, words=f"{history.key}: a damaged copy, which nothing can be rebuilt from: removed")
    source = _newest_source(history, part, history.row.record, copies)
    if source is None:
        return Repair(
            history=None,
            words=f"{history.key}: not repaired, neither its journal nor a copy tells its body; restore a backup"
            f" ({seen})",
        )
    return _rebuilt(history, part, source, place)


def _standing(row: Row, part: History) -> Row | None:
    """The row that the stored digest proves, and that what is left of the journal does not contradict."""
    assert row.record is not None, "a repair reads whole records"
    for record, deleted in _candidates(row.record, row.deleted, part):
        if digest_of(record, deleted=deleted) != row.record.digest:
            continue
        found = row_of(record, deleted=deleted)
        chain = part.events[-1].digest if part.events else part.anchor
        if not is_damaged(replace(part, row=found._replace(chain=chain))):
            return found
    return None


def _candidates(record: Record, deleted: bool, part: History) -> Iterator[tuple[Record, bool]]:
    """The record as stored, and with what its journal tells of it in place of what may be damaged."""
    yield record, deleted
    told = _told(part.events)
    bodies = {record.body: None} | ({} if told is None else {codec.encode(told.body, what="body"): None})
    versions = {record.version: None} | {event.version: None for event in part.events[-1:]}
    chains = {record.chain: None} | {event.digest: None for event in part.events[-1:]}
    for body, version, chain, is_deleted in itertools.product(bodies, versions, chains, (deleted, not deleted)):
        yield replace(record, body=body, version=version, chain=chain), is_deleted


def _with_standing(history: History, part: History, standing: Row, place: _Place) -> Repair:
    """The record is as it was; its journal is cut where it is damaged."""
    record = standing.record
    assert record is not None, "a standing row has its record"
    is_whole = len(part.events) == len(history.events) and part.anchor == history.anchor
    if is_whole and record.chain in ("", part.events[-1].digest if part.events else part.anchor):
        words = f"{history.key}: rebuilt from its journal, proven by its digest"
        return Repair(history=replace(history, row=standing), words=words)
    words = f"{history.key}: the record is as it was, proven by its digest; {_loss(history, part)}"
    return _journalled(history, part, record, place, words, deleted=standing.deleted)


def _buried(history: History, part: History, record: Record, place: _Place) -> Repair:
    """A deleted record goes on counting; nothing else is kept of it."""
    words = f"{history.key}: a deleted record, damaged: it is deleted still, under a new version and in a new epoch"
    empty = Record(
        key=history.key,
        version=_newest(history) + 1,
        body=b"",
        epoch=_number(record.epoch) + 1,
        change_id=f"{REPAIRED}:{place.position}",
        written_at=place.at,
    )
    return _journalled(history, part, empty, place, words, deleted=True)


def _rebuilt(history: History, part: History, source: _Source, place: _Place) -> Repair:
    stored = source.record
    newest = max(_newest(history), source.version)
    version = newest + 1
    rebuilt = replace(
        stored,
        version=version,
        body=codec.encode(source.body, what=f"body of {history.key}"),
        owner="",
        epoch=_number(stored.epoch) + 1,
        change_id=f"{REPAIRED}:{place.position}",
        written_at=place.at,
        due=moment(stored.due) if stored.due is not None and abs(stored.due) <= TIME_S_MAX else None,
    )
    words = [f"{history.key}: rebuilt from {source.words} at version {source.version}, as version {version}"]
    words.append("owner cleared and epoch raised")
    if not source.is_copy:
        words.append("check status and due by hand")
    if len(part.events) < len(history.events):
        words.append(_loss(history, part))
    if newest > source.version:
        words.append(f"what it decided after version {source.version} is lost, look at what that did outside")
    return _journalled(history, part, rebuilt, place, "; ".join(words), deleted=False)


def _newest_source(history: History, part: History, record: Record, copies: Sequence[Record]) -> _Source | None:
    """The newest body that anything sound tells; of a copy and a journal that tell the same version, the copy, whose
    other fields are sound as well."""
    found = []
    if (told := _told(part.events)) is not None:
        found.append(_Source(told.version, False, told.body, "its journal", record))
    for copy in good_copies(history.key, list(copies))[:1]:
        whole = replace(
            record,
            epoch=max(_number(record.epoch), copy.record.epoch),
            status=copy.record.status,
            due=copy.record.due,
            queue=copy.record.queue,
            labels=copy.record.labels,
        )
        found.append(_Source(copy.record.version, True, copy.snapshot, f"its copy {copy.name!r}", whole))
    return max(found, key=lambda source: source[:2], default=None)


def _journalled(history: History, part: History, record: Record, place: _Place, words: str, *, deleted: bool) -> Repair:
    """`record` in its new chain, behind a journal row that tells what was done; a deleted record that never had a
    journal gets none."""
    events = list(part.events)
    anchor = part.anchor
    if history.events or part.anchor or record.chain or not deleted:
        previous = events[-1].digest if events else anchor
        events.append(_event(record, place, previous, words, delta=_delta(history, record, deleted)))
        record = replace(record, chain=events[-1].digest)
    record = replace(record, digest=digest_of(record, deleted=deleted))
    mended = replace(history, row=row_of(record, deleted=deleted), events=events, anchor=anchor)
    return Repair(history=mended, words=words)


def _event(record: Record, place: _Place, previous: str, words: str, *, delta: bytes) -> Event:
    body = codec.encode({"agent": "repair", "metadata": {"what": words}}, what=REPAIRED)
    change_id = f"{REPAIRED}:{place.position}"
    digest = event_digest(
        record.key,
        place.position,
        record.version,
        REPAIRED,
        change_id=change_id,
        at=place.at,
        previous=previous,
        payload=event_payload(body, delta),
    )
    return Event(
        key=record.key,
        position=place.position,
        version=record.version,
        name=REPAIRED,
        body=body,
        delta=delta,
        change_id=change_id,
        at=place.at,
        previous=previous,
        digest=digest,
    )


def _delta(history: History, record: Record, deleted: bool) -> bytes:
    """The whole body, for a journal that tells bodies, or may have told them in what is lost."""
    tells = not history.events or any(event.delta for event in history.events)
    return b"" if deleted or not tells else journal.delta(None, codec.decode(record.body), record.version)


def _newest(history: History) -> int:
    """The highest version seen under a key, sound or not."""
    versions = [_number(event.version) for event in history.events]
    return max(versions + ([_number(history.row.version)] if history.row is not None else []), default=0)


def _number(value: object) -> int:
    """A number as stored; damaged, it may be anything."""
    return value if isinstance(value, int) else 0


def _loss(history: History, part: History) -> str:
    lost = len(history.events) - len(part.events)
    if lost == 0:
        return "its journal lacks rows, and goes on from what is there"
    return f"its journal is cut behind its damage, {lost} of {len(history.events)} rows went"


def _told(events: Sequence[Event]) -> journal.Rebuilt | None:
    try:
        return journal.rebuilt(journal.own_life(events))
    except (Corrupt, InvalidInput):
        return None
