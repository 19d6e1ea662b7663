"""Batches to SQL and back: rows go as one JSON document, so that a statement is the same for any number of them.

Rows are locked in one order everywhere: streams first, then records by kind, tenant, user and id, those that a removal
will delete among them; then new records are inserted in that order, then new streams. Who goes that way can wait for
another, but never in a circle. What is deleted goes last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from holdfast.errors import InvalidInput
from holdfast.store.contract.history import Row, Stream
from holdfast.store.contract.protocol import history_order
from holdfast.store.contract.records import ABSENT, Change, Event, Key, Position, Record, RemovePrefix
from holdfast.store.decisions.rules import (
    Judgement,
    keys_of,
    prefix_end,
    row_of,
    sorted_ids,
    streams_of,
    under_prefix,
    wholes,
)
from holdfast.store.postgres.connections import Connection

_KEY = {"kind": "text", "tenant": "text", '"user"': "text", "id": "text"}
_HEAD = {"version": "bigint", "epoch": "bigint", "owner": "text", "chain": "text", "deleted": "boolean"}
_REST = {
    "status": "text",
    "due_us": "bigint",
    "queue": "text",
    "labels": "jsonb",
    "change_id": "text",
    "written_us": "bigint",
    "digest": "text",
    "body": "text",
}
_RECORD = _KEY | _HEAD | _REST
_EVENT = _KEY | {
    "incarnation": "bigint",
    "seq": "bigint",
    "version": "bigint",
    "name": "text",
    "change_id": "text",
    "at_us": "bigint",
    "previous": "text",
    "digest": "text",
    "body": "text",
    "delta": "text",
}

RECORD = ", ".join("labels::text" if name == "labels" else name for name in _RECORD)
EVENT = ", ".join(_EVENT)
BEYOND_EVERY_ID = "\U0010ffff" * 1001
"""Greater than every id that the gate lets in."""

_encoder = msgspec.json.Encoder()


class Known(NamedTuple):
    """What a batch is judged against, each row's digest, and the server's time at which it was."""

    rows: dict[Key, Row]
    digests: dict[Key, str]
    streams: dict[Stream, int]
    incarnation: int
    server_s: float


async def load(connection: Connection, changes: Sequence[Change]) -> Known:
    """All that judging `changes` needs, locked until the transaction ends, and with it what they remove."""
    keys = {key for change in changes for key in keys_of(change)}
    whole = {key for change in changes for key in wholes(change)}
    streams = sorted({stream for change in changes for stream in streams_of(change)})
    asked: list[tuple[Any, ...]] = [(*history_order(key), None, key in whole) for key in keys]
    asked = sorted(asked + [(*_range(removal), False) for change in changes for removal in change.removes], key=_place)
    found = await connection.fetch(_LOAD, _json(asked), _json(streams))
    rows: dict[Key, Row] = {}
    digests: dict[Key, str] = {}
    numbers: dict[Stream, int] = {}
    incarnation, server_us = 1, 0
    for part, number, *values in found:
        if part == 0:
            kind, tenant, user, id_, *_ = asked[number - 1]
            key = Key(tenant, user, kind, id_)
            rows[key] = _whole(key, values) if key in whole else Row(*values[:5])
            digests[key] = values[11]
        elif part == 1:
            numbers[streams[number - 1]] = values[0]
        else:
            incarnation, server_us = values[0], values[10]
    return Known(rows, digests, numbers, incarnation, server_us / 1_000_000)


async def store(connection: Connection, changes: Sequence[Change], judgement: Judgement, known: Known) -> None:
    """Write a judgement. The driver's SerializationError where somebody else made one of its rows meanwhile, or a row
    that must be absent."""
    if written := document(changes, judgement, known):
        await connection.fetchval("SELECT holdfast.write_1($1::text::jsonb)", _json(written))


def document(changes: Sequence[Change], judgement: Judgement, known: Known) -> dict[str, Any]:
    """What `holdfast.write_1` is to write. Everything new is in one order, so that nobody waits in a circle for it."""
    # Where a record must be absent there is no row to lock: one is inserted, which makes others wait, and goes again.
    absent = {
        require.key
        for change in changes
        for require in change.requires
        if require.version == ABSENT and require.key not in known.rows and require.key not in judgement.rows
    }
    inserted = [_values(row) for key, row in judgement.rows.items() if key not in known.rows]
    inserted += [_values(row_of(Record(key=key, version=0, body=b""), deleted=True)) for key in absent]
    parts: dict[str, list[Any]] = {
        "inserted": sorted(inserted, key=_place),
        "let_go": [history_order(key) for key in absent],
        "updated": [_values(row) for key, row in judgement.rows.items() if key in known.rows],
        "events": [_event_values(event) for event in judgement.events],
        "begun": sorted((*s, seq) for s, seq in judgement.streams.items() if s not in known.streams),
        "grown": [(*s, seq) for s, seq in judgement.streams.items() if s in known.streams],
        "removed": [_range(removal) for removal in judgement.removed],
        "kept": _kept(judgement),
    }
    return {name: rows for name, rows in parts.items() if rows}


def held(known: Known, judgement: Judgement) -> list[tuple[Any, ...]]:
    """What `holdfast.commit_1` is to lock, in order: the rows that are known, by their digests, and those removed."""
    rows: list[tuple[Any, ...]] = [(*history_order(key), None, known.digests[key]) for key in known.rows]
    return sorted(rows + [(*_range(removal), None) for removal in judgement.removed], key=_place)


async def digests(connection: Connection, keys: Iterable[Key]) -> dict[Key, str]:
    """The digests of the rows of `keys`, as far as there are any."""
    asked = sorted(keys, key=history_order)
    found = await connection.fetch(_DIGESTS, key_list(asked))
    return {asked[number - 1]: digest for number, digest in found}


async def put_rows(connection: Connection, rows: Iterable[Row]) -> None:
    """Write rows, whether or not something is there."""
    if values := sorted((_values(row) for row in rows), key=lambda each: each[:4]):
        await connection.fetch(_UPSERT, _json(values))


async def put_events(connection: Connection, events: Iterable[Event]) -> None:
    """Append events."""
    if values := [_event_values(event) for event in events]:
        await connection.fetchval("SELECT holdfast.write_1($1::text::jsonb)", _json({"events": values}))


def record_from(values: Sequence[Any]) -> Row:
    """The row of RECORD columns."""
    kind, tenant, user, id_, *rest = values
    return _whole(Key(tenant, user, kind, id_), rest)


def event_from(values: Sequence[Any]) -> Event:
    """The event of EVENT columns."""
    (kind, tenant, user, id_, incarnation, seq, version, name, change_id, at_us, previous, digest, body, delta) = values
    return Event(
        key=Key(tenant, user, kind, id_),
        position=Position(incarnation, seq),
        version=version,
        name=name,
        body=body.encode(),
        delta=delta.encode(),
        change_id=change_id,
        at=at_us / 1_000_000,
        previous=previous,
        digest=digest,
    )


def microseconds(time_s: float) -> int:
    """A stored time as its column holds it."""
    return round(time_s * 1_000_000)


def key_list(keys: Iterable[Key]) -> str:
    """Keys as one parameter: a JSON list of kind, tenant, user and id."""
    return _json([history_order(key) for key in keys])


def text_of(document: object) -> str:
    """A parameter of the functions in the schema."""
    return _json(document)


def _whole(key: Key, values: Sequence[Any]) -> Row:
    (version, epoch, owner, chain, deleted, status, due_us, queue, labels, change_id, written_us, digest, body) = values
    record = Record(
        key=key,
        version=version,
        body=body.encode(),
        status=status,
        due=None if due_us is None else due_us / 1_000_000,
        queue=queue,
        owner=owner,
        epoch=epoch,
        labels=_labels(labels),
        change_id=change_id,
        written_at=written_us / 1_000_000,
        chain=chain,
        digest=digest,
    )
    return Row(version, epoch, owner, chain, deleted, record)


def _values(row: Row) -> tuple[Any, ...]:
    record = row.record
    assert record is not None, "what is written is written whole"
    return (
        record.key.kind,
        record.key.tenant,
        record.key.user,
        record.key.id,
        record.version,
        record.epoch,
        record.owner,
        record.chain,
        row.deleted,
        record.status,
        None if record.due is None else microseconds(record.due),
        record.queue,
        record.labels,
        record.change_id,
        microseconds(record.written_at),
        record.digest,
        record.body.decode(),
    )


def _event_values(event: Event) -> tuple[Any, ...]:
    return (
        event.key.kind,
        event.key.tenant,
        event.key.user,
        event.key.id,
        *event.position,
        event.version,
        event.name,
        event.change_id,
        microseconds(event.at),
        event.previous,
        event.digest,
        event.body.decode(),
        event.delta.decode(),
    )


def _range(removal: RemovePrefix) -> tuple[str, ...]:
    high = prefix_end(removal.prefix) or BEYOND_EVERY_ID
    return (removal.kind, removal.tenant, removal.user, removal.prefix, high)


def _place(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Where a row, or the first of a range, comes in the order in which everybody locks."""
    return values[:4]


def _kept(judgement: Judgement) -> list[tuple[str, ...]]:
    """Rows that are written although they lie under a prefix that is removed: they came after the removal."""
    if not judgement.removed:
        return []
    ids = sorted_ids(judgement.rows)
    return [
        (removal.kind, removal.tenant, removal.user, id_)
        for removal in judgement.removed
        for id_ in under_prefix(ids.get((removal.tenant, removal.user, removal.kind), ()), removal.prefix)
    ]


def _json(value: object) -> str:
    return _encoder.encode(value).decode()


def _labels(text: str) -> dict[str, str]:
    if text == "{}":
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.MsgspecError, InvalidInput):
        return {"damaged": text}


def _on_key(left: str, given: str, *, but: str = "") -> str:
    return " AND ".join(f"{left}.{name} = {given} ->> {number}" for number, name in enumerate(_KEY) if name != but)


def _selected(columns: dict[str, str]) -> str:
    """The rows of a JSON list of lists, the first parameter."""
    taken = ", ".join(
        f"g -> {number}" if kind == "jsonb" else f"(g ->> {number})::{kind}"
        for number, kind in enumerate(columns.values())
    )
    return f"SELECT {taken} FROM jsonb_array_elements($1::text::jsonb) AS g"


def _load_sql() -> str:
    heads = ", ".join(f"r.{name}" for name in _HEAD)
    rest = ", ".join(
        f"r.{name}"
        if name == "digest"
        else f"CASE WHEN (g ->> 5)::boolean THEN r.{name}{'::text' * (kind == 'jsonb')} END"
        for name, kind in _REST.items()
    )
    columns = ", ".join(_HEAD | _REST)
    nothing = "NULL::bigint, NULL, NULL, NULL::boolean, NULL, NULL::bigint, NULL, NULL, NULL"
    return f"""
        WITH numbered AS MATERIALIZED (
            SELECT number, seq
            FROM jsonb_array_elements($2::text::jsonb) WITH ORDINALITY AS asked (g, number) CROSS JOIN LATERAL (
                SELECT seq FROM holdfast.streams AS s WHERE s.tenant = g ->> 0 AND s."user" = g ->> 1 LIMIT 1 FOR UPDATE
            ) AS found
        ),
        behind AS MATERIALIZED (SELECT count(*) AS streams FROM numbered),
        locked (number, {columns}) AS MATERIALIZED (
            SELECT number, found.*
            FROM behind CROSS JOIN jsonb_array_elements($1::text::jsonb) WITH ORDINALITY AS asked (g, number)
            LEFT JOIN LATERAL (
                SELECT {heads}, {rest} FROM holdfast.records AS r WHERE g ->> 4 IS NULL AND {_on_key("r", "g")}
                LIMIT 1 FOR UPDATE
            ) AS found ON true
            LEFT JOIN LATERAL (
                SELECT FROM holdfast.records AS r
                WHERE {_on_key("r", "g", but="id")} AND r.id >= g ->> 3 AND r.id < g ->> 4 ORDER BY r.id FOR UPDATE
            ) AS removed ON true
        )
        SELECT 0 AS part, number, {columns} FROM locked WHERE version IS NOT NULL
        UNION ALL SELECT 1, number, seq, {nothing}, NULL, NULL, NULL FROM numbered
        UNION ALL SELECT 2, 0, value, {nothing}, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, NULL, NULL
        FROM holdfast.meta WHERE name = 'incarnation'"""


_DIGESTS = f"""
    SELECT number, found.digest FROM jsonb_array_elements($1::text::jsonb) WITH ORDINALITY AS asked (g, number)
    CROSS JOIN LATERAL (SELECT digest FROM holdfast.records AS r WHERE {_on_key("r", "g")} LIMIT 1) AS found"""
_LOAD = _load_sql()
_UPSERT = (
    f"INSERT INTO holdfast.records ({', '.join(_RECORD)}) {_selected(_RECORD)}"
    f" ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _HEAD | _REST)
)
