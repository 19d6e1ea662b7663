"""Digests: one value per row that is its checksum and, for events, the link to the event before it.

Taken over a canonical JSON header (an array, so it holds no newline), a newline, and the payload bytes as stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from holdfast import codec
from holdfast.errors import Corrupt
from holdfast.store.contract.records import Event, Key, Position, Record

DIGEST_BYTES = 20


def record_digest(
    key: Key,
    version: int,
    *,
    status: str,
    due: float | None,
    queue: str,
    owner: str,
    epoch: int,
    labels: Mapping[str, str],
    change_id: str,
    written_at: float,
    chain: str,
    body: bytes,
    deleted: bool,
) -> str:
    """The digest of a record's every field, in hex."""
    header = (key, version, status, due, queue, owner, epoch, labels, change_id, written_at, chain, deleted)
    return _digest(codec.canonical(header), body)


def digest_of(record: Record, *, deleted: bool = False) -> str:
    """The digest that `record` should carry."""
    return record_digest(
        record.key,
        record.version,
        status=record.status,
        due=record.due,
        queue=record.queue,
        owner=record.owner,
        epoch=record.epoch,
        labels=record.labels,
        change_id=record.change_id,
        written_at=record.written_at,
        chain=record.chain,
        body=record.body,
        deleted=deleted,
    )


def event_digest(
    key: Key, position: Position, version: int, name: str, *, change_id: str, at: float, previous: str, payload: bytes
) -> str:
    """The digest of a journal row and, through `previous`, of every row of its record before it."""
    return _digest(codec.canonical((key, position, version, name, change_id, at, previous)), payload)


def digest_of_event(event: Event) -> str:
    """The digest that `event` should carry."""
    return event_digest(
        event.key,
        event.position,
        event.version,
        event.name,
        change_id=event.change_id,
        at=event.at,
        previous=event.previous,
        payload=event_payload(event.body, event.delta),
    )


def event_payload(body: bytes, delta: bytes) -> bytes:
    """The bytes of an event that its digest covers; the length keeps body and delta apart."""
    return b"%d\n%b%b" % (len(body), body, delta)


def checked(record: Record, *, deleted: bool = False) -> Record:
    """`record` if its digest is right; Corrupt, naming it, if not."""
    expected = digest_of(record, deleted=deleted)
    if expected != record.digest:
        raise Corrupt(
            f"{record.key}: expected digest {record.digest}, its bytes give {expected};"
            " run verify to see the damage, then repair or restore a backup",
            key=record.key,
            expected=record.digest,
            seen=expected,
        )
    return record


def checked_event(event: Event) -> Event:
    """`event` if its digest is right; Corrupt, naming it, if not."""
    expected = digest_of_event(event)
    if expected != event.digest:
        raise Corrupt(
            f"{event.key}: event {event.name} at {event.position}: expected digest {event.digest},"
            f" its bytes give {expected}; run verify to see the damage, then restore a backup",
            key=event.key,
            position=event.position,
            expected=event.digest,
            seen=expected,
        )
    return event


def _digest(header: bytes, payload: bytes) -> str:
    state = hashlib.blake2b(header, digest_size=DIGEST_BYTES)
    state.update(b"\n")
    state.update(payload)
    return state.hexdigest()
