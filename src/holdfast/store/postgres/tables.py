"""Batches to SQL and back: one array per column, so that a statement is the same for any number of rows.

Rows are locked in one order everywhere: streams first, then records by kind, tenant, user and id. Who locks the rows of
a batch in that order can wait for another, but never in a circle.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from holdfast import codec
from holdfast.errors import InvalidInput
from holdfast.store.postgres.connections import Connection
from holdfast.store.protocol import history_order
from holdfast.store.records import ABSENT, Change, Event, Key, Position, Record, RemovePrefix
from holdfast.store.rules import (
    Judgement,
    Row,
    Stream,
    keys_of,
    prefix_end,
    sorted_ids,
    streams_of,
    under_prefix,
    wholes,
)

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
_STREAM = {"tenant": "text", '"user"': "text", "seq": "bigint"}
_REMOVED = {"kind": "text", "tenant": "text", '"user"': "text", "low": "text", "high": "text"}

RECORD = ", ".join("labels::text" if name == "labels" else name for name in _RECORD)
EVENT = ", ".join(_EVENT)
BEYOND_EVERY_ID = "\U0010ffff" * 1001
"""Greater than every id that the gate lets in."""

Columns = list[list[Any]]


class Known(NamedTuple):
    """What a batch is judged against, and the server's time at which it was."""

    rows: dict[Key, Row]
    streams: dict[Stream, int]
    incarnation: int
    server_s: float


async def load(connection: Connection, changes: Sequence[Change]) -> Known:
    """All that judging `changes` needs, locked until the transaction ends."""
    keys = sorted({key for change in changes for key in keys_of(change)}, key=history_order)
    whole = {key for change in changes for key in wholes(change)}
    streams = sorted({stream for change in changes for stream in streams_of(change)})
    asked = [*_columns([history_order(key) for key in keys], 4), [key in whole for key in keys]]
    found = await connection.fetch(_load_sql(bool(streams)), *asked, *(_columns(streams, 2) if streams else ()))
    rows: dict[Key, Row] = {}
    numbers: dict[Stream, int] = {}
    incarnation, server_us = 1, 0
    for part, number, *values in found:
        if part == 0:
            key = keys[number - 1]
            rows[key] = _whole(key, values) if key in whole else Row(*values[:5])
        elif part == 1:
            numbers[streams[number - 1]] = values[0]
        else:
            incarnation, server_us = values[0], values[10]
    return Known(rows, numbers, incarnation, server_us / 1_000_000)


async def store(connection: Connection, judgement: Judgement, known: Known) -> bool:
    """Write a judgement; False where somebody else made one of its rows meanwhile, and all must be done again."""
    new = [row for key, row in judgement.rows.items() if key not in known.rows]
    old = [row for key, row in judgement.rows.items() if key in known.rows]
    begun = [(*stream, seq) for stream, seq in judgement.streams.items() if stream not in known.streams]
    grown = [(*stream, seq) for stream, seq in judgement.streams.items() if stream in known.streams]
    parts: dict[str, list[Any]] = {
        "removed": [_range(removal) for removal in judgement.removed],
        "inserted": sorted(_values(row) for row in new),
        "updated": [_values(row) for row in old],
        "events": [_event_values(event) for event in judgement.events],
        "begun": sorted(begun),
        "grown": grown,
    }
    if parts["removed"] and _overlap(judgement):
        removed = parts.pop("removed")
        await connection.fetch(_store_sql(("removed",)), *_columns(removed, len(_REMOVED)))
    given = {name: rows for name, rows in parts.items() if rows}
    if not given:
        return True
    arguments = [column for name, rows in given.items() for column in _columns(rows, len(_PARTS[name][1]))]
    (counts,) = await connection.fetch(_store_sql(tuple(given)), *arguments)
    return tuple(counts) == tuple(len(given[name]) for name in given if name in _COUNTED)


async def hold_absent(connection: Connection, changes: Sequence[Change], known: Known) -> bool:
    """Keep away whoever would make a record that a change requires to be absent, until the transaction ends.

    There is no row to lock, so one is inserted and deleted again: others wait for the end of whoever inserted it.
    False where somebody has just made one.
    """
    absent = sorted(
        {
            history_order(require.key)
            for change in changes
            for require in change.requires
            if require.version == ABSENT and require.key not in known.rows
        }
    )
    if not absent:
        return True
    rows = await connection.fetch(_HOLD, *_columns(absent, 4))
    await connection.fetch(_LET_GO, *_columns(absent, 4))
    return len(rows) == len(absent)


async def put_rows(connection: Connection, rows: Iterable[Row]) -> None:
    """Write rows, whether or not something is there."""
    if values := sorted(_values(row) for row in rows):
        await connection.fetch(_UPSERT, *_columns(values, len(_RECORD)))


async def put_events(connection: Connection, events: Iterable[Event]) -> None:
    """Append events."""
    if values := [_event_values(event) for event in events]:
        await connection.fetch(_store_sql(("events",)), *_columns(values, len(_EVENT)))


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


def arrays(keys: Iterable[Key]) -> Columns:
    """Keys as four arrays: kinds, tenants, users, ids."""
    return _columns([history_order(key) for key in keys], 4)


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
        codec.canonical(record.labels).decode() if record.labels else "{}",
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


def _overlap(judgement: Judgement) -> bool:
    """Whether a row that is written lies under a prefix that is removed: one statement must not do both to one row."""
    ids = sorted_ids(judgement.rows)
    return any(
        under_prefix(ids.get((removal.tenant, removal.user, removal.kind), ()), removal.prefix)
        for removal in judgement.removed
    )


def _columns(rows: Sequence[Sequence[Any]], width: int) -> Columns:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _labels(text: str) -> dict[str, str]:
    if text == "{}":
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.MsgspecError, InvalidInput):
        return {"damaged": text}


def _unnest(columns: dict[str, str], first: int) -> str:
    """`unnest` of one array per column, the first being parameter `first`. (jsonb comes as text: one cast per row.)"""
    return ", ".join(
        f"${first + number}::{'text' if kind == 'jsonb' else kind}[]" for number, kind in enumerate(columns.values())
    )


def _selected(columns: dict[str, str], first: int) -> str:
    names = ", ".join(columns)
    taken = ", ".join(f"{name}::jsonb" if kind == "jsonb" else name for name, kind in columns.items())
    return f"SELECT {taken} FROM unnest({_unnest(columns, first)}) AS given ({names})"


def _on_key(left: str, right: str) -> str:
    return " AND ".join(f"{left}.{name} = {right}.{name}" for name in _KEY)


@functools.cache
def _load_sql(has_streams: bool) -> str:
    rest = ", ".join(
        f"CASE WHEN whole THEN r.{name}{'::text' if kind == 'jsonb' else ''} END AS {name}"
        for name, kind in _REST.items()
    )
    heads = ", ".join(f"r.{name}" for name in _HEAD)
    columns = ", ".join(_HEAD | _REST)
    nothing = "NULL::bigint, NULL, NULL, NULL::boolean, NULL, NULL::bigint, NULL, NULL, NULL"
    stream_part = stream_rows = gate = ""
    if has_streams:
        stream_part = """
        numbered AS MATERIALIZED (
            SELECT given.number, s.seq
            FROM unnest($6::text[], $7::text[]) WITH ORDINALITY AS given (tenant, "user", number)
            JOIN holdfast.streams AS s ON s.tenant = given.tenant AND s."user" = given."user"
            ORDER BY s.tenant, s."user" FOR UPDATE OF s
        ),
        behind AS MATERIALIZED (SELECT count(*) AS streams FROM numbered),"""
        gate = "behind CROSS JOIN "
        stream_rows = f"SELECT 1, number, seq, {nothing}, NULL, NULL, NULL FROM numbered UNION ALL"
    return f"""
        WITH {stream_part}
        locked AS MATERIALIZED (
            SELECT asked.number, {heads}, {rest}
            FROM {gate}unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::boolean[])
                WITH ORDINALITY AS asked (kind, tenant, "user", id, whole, number)
            JOIN holdfast.records AS r ON {_on_key("r", "asked")}
            ORDER BY r.kind, r.tenant, r."user", r.id FOR UPDATE OF r
        )
        SELECT 0 AS part, number, {columns} FROM locked
        UNION ALL {stream_rows}
        SELECT 2, 0, value, {nothing}, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, NULL, NULL
        FROM holdfast.meta WHERE name = 'incarnation'"""


_REMOVE = (
    "DELETE FROM holdfast.records AS r USING ({given}) AS g WHERE r.kind = g.kind AND r.tenant = g.tenant"
    ' AND r."user" = g."user" AND r.id >= g.low AND r.id < g.high'
)
_INSERT = f"INSERT INTO holdfast.records ({', '.join(_RECORD)}) {{given}} ON CONFLICT DO NOTHING RETURNING 1"
_UPDATE = (
    "UPDATE holdfast.records AS r SET "
    + ", ".join(f"{name} = g.{name}" for name in _HEAD | _REST)
    + f" FROM ({{given}}) AS g WHERE {_on_key('r', 'g')} RETURNING 1"
)
_APPEND = f"INSERT INTO holdfast.events ({', '.join(_EVENT)}) {{given}}"
_BEGIN_STREAM = f"INSERT INTO holdfast.streams ({', '.join(_STREAM)}) {{given}} ON CONFLICT DO NOTHING RETURNING 1"
_GROW_STREAM = (
    "UPDATE holdfast.streams AS s SET seq = g.seq FROM ({given}) AS g"
    ' WHERE s.tenant = g.tenant AND s."user" = g."user" RETURNING 1'
)
_PARTS: dict[str, tuple[str, dict[str, str]]] = {
    "removed": (_REMOVE, _REMOVED),
    "inserted": (_INSERT, _RECORD),
    "updated": (_UPDATE, _RECORD),
    "events": (_APPEND, _EVENT),
    "begun": (_BEGIN_STREAM, _STREAM),
    "grown": (_GROW_STREAM, _STREAM),
}
_COUNTED = ("inserted", "updated", "begun", "grown")


@functools.cache
def _store_sql(names: tuple[str, ...]) -> str:
    first, parts = 1, []
    for name in names:
        sql, columns = _PARTS[name]
        parts.append(f"{name} AS ({sql.format(given=_selected(columns, first))})")
        first += len(columns)
    counts = [f"(SELECT count(*) FROM {name})" for name in names if name in _COUNTED]
    return f"WITH {', '.join(parts)} SELECT {', '.join(counts)}"


_UPSERT = (
    f"INSERT INTO holdfast.records ({', '.join(_RECORD)}) {_selected(_RECORD, 1)}"
    f" ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _HEAD | _REST)
)
_NOTHING_YET = "0, 0, NULL, 0, true, '', '', '', '', '', '', '{}'::jsonb, ''"
_HOLD = f"""
    INSERT INTO holdfast.records (kind, tenant, "user", id, version, epoch, due_us, written_us, deleted, owner, chain,
        status, queue, change_id, digest, labels, body)
    SELECT kind, tenant, "user", id, {_NOTHING_YET} FROM unnest({_unnest(_KEY, 1)}) AS given (kind, tenant, "user", id)
    ON CONFLICT DO NOTHING RETURNING 1"""
_LET_GO = f"""
    DELETE FROM holdfast.records AS r USING unnest({_unnest(_KEY, 1)}) AS g (kind, tenant, "user", id)
    WHERE {_on_key("r", "g")} AND r.version = 0"""
