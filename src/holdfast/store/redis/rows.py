"""Records and events as the fields that Redis holds, and back. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from holdfast import codec
from holdfast.store.contract.history import Row
from holdfast.store.contract.records import Event, Key, Position, Record

INDEXED = {("run", "ticket")}
"""Labels that few records share, each an index of its own."""
NO_DUE = 4_400_000_000_000_000
"""Added to the time of writing where there is no due, so that one score sorts claims: due first, then what waits
longest. Dues and times end below 2^32 s = 4.3e15 us, and 2^53 is where scores cease to be exact."""
DAMAGED_TIME_S = -(2.0**40)
"""Stands for a time that cannot be read, so that the digest gives it away."""


class Meta(msgspec.Struct, frozen=True):
    """A record's fields beside digest and body. Scores are text: Lua would print numbers of this size badly.

    v version, e epoch, o owner, c chain, x deleted, s status, u due, q queue, l labels, i change id, w written,
    k score among claims, t the labels that are indexed.
    """

    v: int
    e: int
    o: str
    c: str
    x: bool
    s: str
    u: str
    q: str
    l: dict[str, str]  # noqa: E741
    i: str
    w: str
    k: str
    t: list[tuple[str, str]]


class Header(msgspec.Struct, frozen=True):
    """An event's fields beside body and delta: version, name, change id, time, previous digest, digest."""

    v: int
    n: str
    i: str
    w: str
    p: str
    d: str


_metas = msgspec.json.Decoder(Meta)
_headers = msgspec.json.Decoder(Header)


def meta_of(record: Record, *, deleted: bool) -> bytes:
    """What a row's hash holds beside its digest and body."""
    due = "" if record.due is None else str(microseconds(record.due))
    written = microseconds(record.written_at)
    labels = dict(record.labels)
    return codec.encode(
        Meta(
            v=record.version,
            e=record.epoch,
            o=record.owner,
            c=record.chain,
            x=deleted,
            s=record.status,
            u=due,
            q=record.queue,
            l=labels,
            i=record.change_id,
            w=str(written),
            k=due or str(NO_DUE + written),
            t=[(name, value) for name, value in labels.items() if (record.key.kind, name) in INDEXED],
        ),
        bytes_max=1 << 26,
    )


def row_from(key: Key, digest: bytes, meta: bytes, body: bytes, *, whole: bool = True) -> Row | None:
    """The row in a hash's fields; None for no row. What cannot be read has a digest that does not fit."""
    if not digest:
        return None
    try:
        held = _metas.decode(meta)
    except msgspec.MsgspecError:
        return _damaged(key, digest, body)
    if not whole:
        return Row(held.v, held.e, held.o, held.c, held.x)
    record = Record(
        key=key,
        version=held.v,
        body=body,
        status=held.s,
        due=_seconds(held.u) if held.u else None,
        queue=held.q,
        owner=held.o,
        epoch=held.e,
        labels=held.l,
        change_id=held.i,
        written_at=_seconds(held.w),
        chain=held.c,
        digest=_text(digest),
    )
    return Row(held.v, held.e, held.o, held.c, held.x, record)


def is_unreadable(row: Row) -> bool:
    """Whether the fields of a row are so damaged that nothing can be judged by them."""
    return row.record is not None and row.record.written_at == DAMAGED_TIME_S


def header_of(event: Event) -> bytes:
    """What a journal row holds beside body and delta."""
    header = Header(
        event.version, event.name, event.change_id, str(microseconds(event.at)), event.previous, event.digest
    )
    return codec.encode(header, bytes_max=1 << 26)


def event_from(key: Key, position: bytes, fields: Mapping[bytes, bytes]) -> Event:
    """The event in a journal row."""
    try:
        header = _headers.decode(fields.get(b"h", b""))
    except msgspec.MsgspecError:
        header = Header(0, "damaged", "", "", "", "")
    return Event(
        key=key,
        position=position_from(position),
        version=header.v,
        name=header.n,
        body=fields.get(b"b", b""),
        delta=fields.get(b"d", b""),
        change_id=header.i,
        at=_seconds(header.w),
        previous=header.p,
        digest=header.d,
    )


def pairs(fields: Sequence[bytes] | Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    """A flat list of names and values as a mapping, unless the driver has made one of it."""
    if isinstance(fields, Mapping):
        return fields
    return dict(zip(fields[::2], fields[1::2], strict=True))


def position_text(position: Position) -> str:
    """A position as Redis numbers the entries of a stream."""
    return f"{position.incarnation}-{position.seq}"


def position_from(text: bytes) -> Position:
    """The same, read."""
    left, _, right = text.decode().partition("-")
    return Position(int(left), int(right))


def microseconds(time_s: float) -> int:
    """A stored time as its field holds it."""
    return round(time_s * 1_000_000)


def _seconds(text: str) -> float:
    return int(text) / 1_000_000 if text.lstrip("-").isdigit() else DAMAGED_TIME_S


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _damaged(key: Key, digest: bytes, body: bytes) -> Row:
    record = Record(key=key, version=0, body=body, written_at=DAMAGED_TIME_S, digest=_text(digest))
    return Row(0, 0, "", "", False, record)
