"""Rows to SQL and back, a whole batch per statement.

Every statement, and every row fetched, gives up Python's global lock and must win it back from a busy event loop. So
rows go in by one many-row VALUES, padded to a power of two to keep the statements few, and come back as one JSON array.
500 rows beside a busy loop: 13 ms one by one, 7 ms as one value (medians of 21, 2 CPUs, `python -m
benchmarks.bench_writer --only "500 rows"`, 2026-11-21).
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from holdfast import codec
from holdfast.errors import InvalidInput
from holdfast.store.contract.history import Row, Stream
from holdfast.store.contract.records import Change, Event, Key, Position, Record
from holdfast.store.decisions.rules import Judgement, keys_of, prefix_end, streams_of, wholes

STATEMENT_ROWS_MAX = 512
"""Bound on the rows of one statement. SQLite allows 32,766 values."""

HEAD = "version, epoch, owner, chain, deleted"
RECORD = f"tenant, user, kind, id, {HEAD}, status, due_us, queue, labels, change_id, written_us, digest, body"
EVENT = "tenant, user, kind, id, incarnation, seq, version, name, change_id, at_us, previous, digest, body, delta"
RECORD_WIDTH = RECORD.count(",") + 1
EVENT_WIDTH = EVENT.count(",") + 1
BEYOND_EVERY_ID = "\U0010ffff" * 1001
"""Greater than every id that the gate lets in."""
DAMAGED_TIME_S = -(2.0**40)
"""Stands for a time that is no number, so that the digest gives it away. (NaN would not: JSON has it as null.)"""

Values = tuple[Any, ...]


class Known(NamedTuple):
    """What a batch is judged against."""

    rows: dict[Key, Row]
    streams: dict[Stream, int]
    incarnation: int


def load(connection: sqlite3.Connection, changes: Sequence[Change]) -> Known:
    """All that judging `changes` needs: one statement, unless the keys are very many."""
    keys = list(dict.fromkeys(key for change in changes for key in keys_of(change)))
    whole = {key for change in changes for key in wholes(change)}
    streams = list(dict.fromkeys(stream for change in changes for stream in streams_of(change)))
    rows: dict[Key, Row] = {}
    for part in _parts(keys) or [[]]:
        asked = _padded([(number, *key, key in whole) for number, key in enumerate(part)], 6)
        found, grown, incarnation = connection.execute(
            _load_sql(len(asked) // 6), (*asked, codec.encode(streams).decode())
        ).fetchone()
        for number, is_whole, *values in msgspec.json.decode(found):
            key = part[number]
            rows[key] = row_from((*key, *values)) if is_whole else _head_from(values)
    known_streams = {(tenant, user): seq for tenant, user, seq in msgspec.json.decode(grown)}
    return Known(rows, known_streams, incarnation)


def store(connection: sqlite3.Connection, judgement: Judgement) -> None:
    """Write a judgement, in its order, in at most one statement per table and 512 rows."""
    if judgement.removed:
        ranges = [
            (item.tenant, item.user, item.kind, item.prefix, prefix_end(item.prefix) or BEYOND_EVERY_ID)
            for item in judgement.removed
        ]
        connection.execute(_REMOVE, (codec.encode(ranges, bytes_max=1 << 30).decode(),))
    put_rows(connection, [row.record for row in judgement.rows.values() if row.record], judgement.rows)
    put_events(connection, judgement.events)
    put_streams(connection, judgement.streams)


def put_rows(connection: sqlite3.Connection, records: Sequence[Record], rows: dict[Key, Row]) -> None:
    """Write records, replacing what is there."""
    for part in _parts([_values(record, rows[record.key].deleted) for record in records]):
        padded = _padded(part, RECORD_WIDTH)
        connection.execute(_put_sql(len(padded) // RECORD_WIDTH), padded)


def put_events(connection: sqlite3.Connection, events: Sequence[Event]) -> None:
    """Append events."""
    for part in _parts([_event_values(event) for event in events]):
        padded = _padded(part, EVENT_WIDTH)
        connection.execute(_append_sql(len(padded) // EVENT_WIDTH), padded)


def put_streams(connection: sqlite3.Connection, streams: dict[Stream, int]) -> None:
    """Write the last number of each stream."""
    if streams:
        grown = [(tenant, user, seq) for (tenant, user), seq in streams.items()]
        connection.execute(_GROW, (codec.encode(grown, bytes_max=1 << 30).decode(),))


def stream_ends(connection: sqlite3.Connection, streams: Sequence[Stream]) -> list[Position]:
    """The incarnation, and the last number of each stream."""
    sql = """
        SELECT (SELECT value FROM meta WHERE name = 'incarnation'), coalesce(streams.seq, 0)
        FROM json_each(?) AS asked LEFT JOIN streams
        ON streams.tenant = json_extract(asked.value, '$[0]') AND streams.user = json_extract(asked.value, '$[1]')
        ORDER BY asked.key"""
    return [Position(*values) for values in connection.execute(sql, (codec.encode(list(streams)).decode(),))]


def fetch(connection: sqlite3.Connection, sql: str, parameters: Sequence[Any], columns: str) -> list[Values]:
    """The rows of `sql`, which selects `columns`; damaged text is replaced, so that its digest gives it away."""
    try:
        (found,) = connection.execute(
            f"SELECT json_group_array(json_array({columns})) FROM ({sql})", parameters
        ).fetchone()
        return [tuple(values) for values in msgspec.json.decode(found)]
    except (sqlite3.DataError, sqlite3.OperationalError, msgspec.DecodeError):
        # Too long for one value, or damaged, which only shows when taken one by one. What else was wrong is raised now.
        return list(fetch_lenient(connection, sql, parameters))


def fetch_lenient(connection: sqlite3.Connection, sql: str, parameters: Sequence[Any] = ()) -> Iterable[Values]:
    """The rows of `sql` one by one, as `fetch`: slower, and in little memory."""
    cursor = connection.cursor()
    cursor.row_factory = None
    factory, connection.text_factory = connection.text_factory, _lenient
    try:
        yield from cursor.execute(sql, parameters)
    finally:
        connection.text_factory = factory


def row_from(values: Sequence[Any]) -> Row:
    """The row of RECORD columns."""
    (tenant, user, kind, id_, version, epoch, owner, chain, deleted, status, due_us, queue, *rest) = values
    labels, change_id, written_us, digest, body = rest
    record = Record(
        key=Key(tenant, user, kind, id_),
        version=version,
        body=_bytes(body),
        status=status,
        due=None if due_us is None else _seconds(due_us),
        queue=queue,
        owner=owner,
        epoch=epoch,
        labels=_labels(labels),
        change_id=change_id,
        written_at=_seconds(written_us),
        chain=chain,
        digest=digest,
    )
    return Row(version, epoch, owner, chain, bool(deleted), record)


def _head_from(values: Sequence[Any]) -> Row:
    version, epoch, owner, chain, deleted = values[:5]
    return Row(version, epoch, owner, chain, bool(deleted))


def event_from(values: Sequence[Any]) -> Event:
    """The event of EVENT columns."""
    (tenant, user, kind, id_, incarnation, seq, version, name, change_id, at_us, previous, digest, body, delta) = values
    return Event(
        key=Key(tenant, user, kind, id_),
        position=Position(incarnation, seq),
        version=version,
        name=name,
        body=_bytes(body),
        delta=_bytes(delta),
        change_id=change_id,
        at=_seconds(at_us),
        previous=previous,
        digest=digest,
    )


def microseconds(time_s: float) -> int:
    """A stored time as its column holds it."""
    return round(time_s * 1_000_000)


def _values(record: Record, deleted: bool) -> Values:
    return (
        *record.key,
        record.version,
        record.epoch,
        record.owner,
        record.chain,
        int(deleted),
        record.status,
        None if record.due is None else microseconds(record.due),
        record.queue,
        codec.canonical(record.labels).decode() if record.labels else "{}",
        record.change_id,
        microseconds(record.written_at),
        record.digest,
        record.body.decode(),
    )


def _event_values(event: Event) -> Values:
    return (
        *event.key,
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


def _parts(rows: list[Any]) -> list[list[Any]]:
    return [rows[start : start + STATEMENT_ROWS_MAX] for start in range(0, len(rows), STATEMENT_ROWS_MAX)]


def _padded(rows: Sequence[Values], width: int) -> list[Any]:
    """The values of `rows` in a line, filled with nulls to a power of two rows; nothing for no rows."""
    if not rows:
        return []
    size = 1 << (len(rows) - 1).bit_length()
    line: list[Any] = []
    for row in rows:
        line += row
    line += [None] * (width * (size - len(rows)))
    return line


def _placeholders(rows: int, width: int) -> str:
    return ", ".join(["(" + ", ".join("?" * width) + ")"] * rows)


@functools.cache
def _load_sql(rows: int) -> str:
    asked = _placeholders(rows, 6) if rows else "(NULL, NULL, NULL, NULL, NULL, NULL)"
    rest = ", ".join(f"CASE WHEN whole THEN {name} END" for name in RECORD.split(", ")[9:])
    return f"""
        WITH asked (number, a_tenant, a_user, a_kind, a_id, whole) AS (VALUES {asked})
        SELECT
            (SELECT json_group_array(json_array(number, whole, {HEAD}, {rest}))
             FROM asked CROSS JOIN records ON kind = a_kind AND tenant = a_tenant AND user = a_user AND id = a_id),
            (SELECT json_group_array(json_array(tenant, user, seq))
             FROM json_each(?) AS s CROSS JOIN streams
             ON tenant = json_extract(s.value, '$[0]') AND user = json_extract(s.value, '$[1]')),
            (SELECT value FROM meta WHERE name = 'incarnation')"""


@functools.cache
def _put_sql(rows: int) -> str:
    kept = {"tenant", "user", "kind", "id"}
    assigned = ", ".join(f"{name} = excluded.{name}" for name in RECORD.split(", ") if name not in kept)
    return (
        f"INSERT INTO records ({RECORD}) SELECT * FROM (VALUES {_placeholders(rows, RECORD_WIDTH)})"
        f" WHERE column1 IS NOT NULL ON CONFLICT (kind, tenant, user, id) DO UPDATE SET {assigned}"
    )


@functools.cache
def _append_sql(rows: int) -> str:
    return (
        f"INSERT INTO events ({EVENT}) SELECT * FROM (VALUES {_placeholders(rows, EVENT_WIDTH)})"
        " WHERE column1 IS NOT NULL"
    )


_REMOVE = """
    DELETE FROM records WHERE rowid IN (
        SELECT records.rowid FROM json_each(?) AS r CROSS JOIN records
        ON tenant = json_extract(r.value, '$[0]') AND user = json_extract(r.value, '$[1]')
        AND kind = json_extract(r.value, '$[2]')
        AND records.id >= json_extract(r.value, '$[3]') AND records.id < json_extract(r.value, '$[4]'))"""

_GROW = """
    INSERT INTO streams (tenant, user, seq)
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(?)
    WHERE true ON CONFLICT (tenant, user) DO UPDATE SET seq = excluded.seq"""


def _labels(text: Any) -> dict[str, str]:
    if text == "{}":
        return {}
    try:
        return codec.decode(_bytes(text), dict[str, str])
    except InvalidInput:
        return {"damaged": str(text)}


def _bytes(text: Any) -> bytes:
    return text.encode(errors="replace") if isinstance(text, str) else bytes(str(text), "utf-8", "replace")


def _seconds(microseconds: Any) -> float:
    return microseconds / 1_000_000 if isinstance(microseconds, int) else DAMAGED_TIME_S


def _lenient(text: bytes) -> str:
    return text.decode(errors="replace")
