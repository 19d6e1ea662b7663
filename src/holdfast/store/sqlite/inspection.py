"""A whole SQLite store read record by record, with its journal: for checking, repairing and trimming it.

In pages, so that neither memory nor the writer is held for long, however big the store is.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Generator, Iterator, Mapping, Sequence

from holdfast import codec
from holdfast.store.contract.history import History, Row, Stream
from holdfast.store.contract.protocol import history_order
from holdfast.store.contract.records import Event, Key, Position, Problem, Record, Verification
from holdfast.store.decisions.rules import moment, prefix_end
from holdfast.store.rows.copies import copy_kind, copy_prefix
from holdfast.store.rows.journal import kept_from
from holdfast.store.sqlite import tables
from holdfast.store.upkeep.audit import audit
from holdfast.store.upkeep.mend import Survey, repair_of, survey

PAGE_KEYS = 200
"""How many records, with their journals, are in memory at once."""
FILE_PROBLEMS_MAX = 100
"""How many faults of the file's own structure are listed."""


def verify(connection: sqlite3.Connection) -> Verification:
    """Every digest and chain of one consistent view, recomputed, and SQLite's own check of the file."""
    problems = list(_file_problems(connection))
    connection.execute("BEGIN")
    try:
        found = audit(histories(connection, keys(connection)), streams(connection))
    except sqlite3.DatabaseError as error:
        found = Verification(records=0, events=0, problems=())
        problems.append(Problem(where="file", expected="rows that can be read", seen=str(error)))
    finally:
        connection.execute("ROLLBACK")
    return Verification(records=found.records, events=found.events, problems=(*problems, *found.problems))


def keys(connection: sqlite3.Connection) -> Iterator[Key]:
    """The key of everything that has a row or a journal."""
    everything = "SELECT tenant, user, kind, id FROM records UNION SELECT DISTINCT tenant, user, kind, id FROM events"
    return (Key(*values) for values in tables.fetch_lenient(connection, everything))


def trimmable(connection: sqlite3.Connection, *, before_s: float, keep: int) -> list[Key]:
    """The keys of the journals that trimming may shorten."""
    asked = (tables.microseconds(before_s), max(keep, 1))
    return [Key(*values) for values in tables.fetch_lenient(connection, _TRIMMABLE, asked)]


def histories(connection: sqlite3.Connection, wanted: Iterator[Key] | Sequence[Key]) -> Iterator[History]:
    """What the store holds under each of the keys."""
    remaining = iter(wanted)
    while page := list(itertools.islice(remaining, PAGE_KEYS)):
        asked = (codec.encode(page, bytes_max=1 << 30).decode(),)
        rows: dict[int, Row] = {}
        events: dict[int, list[Event]] = {}
        for number, *values in tables.fetch(connection, _ROWS, asked, f"number, {tables.RECORD}"):
            rows[number] = tables.row_from(values)
        for number, *values in tables.fetch(connection, _EVENTS, asked, f"number, {tables.EVENT}"):
            events.setdefault(number, []).append(tables.event_from(values))
        anchors: dict[int, str] = dict(tables.fetch(connection, _ANCHORS, asked, "number, digest"))
        for number, key in enumerate(page):
            yield History(key=key, row=rows.get(number), events=events.get(number, []), anchor=anchors.get(number, ""))


def ordered_keys(connection: sqlite3.Connection, after: Key | None) -> Generator[Key, None, None]:
    """Every key behind `after`, in the order of `history_order`."""
    columns = "kind, tenant, user, id"
    behind = "" if after is None else f"WHERE ({columns}) > (?, ?, ?, ?)"
    asked = () if after is None else history_order(after)
    sql = f"SELECT {columns} FROM records {behind} UNION SELECT {columns} FROM events {behind} ORDER BY {columns}"
    for kind, tenant, user, id_ in tables.fetch_lenient(connection, sql, (*asked, *asked)):
        yield Key(tenant, user, kind, id_)


def load(connection: sqlite3.Connection, given: Sequence[History]) -> None:
    """Put what `given` tells in place of what is under its keys. Inside a transaction."""
    for history in given:
        key = (history.key.kind, history.key.tenant, history.key.user, history.key.id)
        for table in ("records", "events", "anchors"):
            connection.execute(f"DELETE FROM {table} WHERE kind = ? AND tenant = ? AND user = ? AND id = ?", key)
        if history.anchor:
            connection.execute(_ANCHOR, (*history.key, history.anchor))
    rows = {history.key: history.row for history in given if history.row is not None}
    tables.put_rows(connection, [row.record for row in rows.values() if row.record is not None], rows)
    tables.put_events(connection, [event for history in given for event in history.events])


def adopt(connection: sqlite3.Connection, known: Mapping[Stream, int], incarnation: int) -> None:
    """Number on behind `known` and `incarnation`, where they are ahead. Inside a transaction."""
    ours = streams(connection)
    tables.put_streams(connection, {stream: max(seq, ours.get(stream, 0)) for stream, seq in known.items()})
    connection.execute("UPDATE meta SET value = max(value, ?) WHERE name = 'incarnation'", (incarnation,))


def streams(connection: sqlite3.Connection) -> dict[Stream, int]:
    """The last number of each user's stream."""
    rows = tables.fetch_lenient(connection, "SELECT tenant, user, seq FROM streams")
    return {(tenant, user): seq for tenant, user, seq in rows}


def incarnation_of(connection: sqlite3.Connection) -> int:
    """Which incarnation the streams of this store are in."""
    incarnation: int = connection.execute("SELECT value FROM meta WHERE name = 'incarnation'").fetchone()[0]
    return incarnation


def trim(connection: sqlite3.Connection, wanted: Sequence[Key], *, before_s: float, keep: int) -> int:
    """Drop the events of some records that `journal.kept_from` lets go; how many went. Inside a transaction."""
    count = 0
    for history in histories(connection, wanted):
        cut = kept_from(history.events, before_s=before_s, keep=keep, is_gone=history.row is None)
        if cut == 0:
            continue
        last = history.events[cut - 1]
        connection.execute(_DROP, (history.key.kind, history.key.id, *history.key[:2], *last.position))
        if cut < len(history.events):
            connection.execute(_ANCHOR, (*history.key, last.digest))
        else:
            connection.execute(_UNANCHOR, history.key)
        count += cut
    return count


def damage(connection: sqlite3.Connection) -> Survey:
    """What needs a repair."""
    return survey(histories(connection, keys(connection)), streams(connection))


def repair(connection: sqlite3.Connection, found: Survey, *, at: float) -> list[str]:
    """Mend what was found damaged as far as possible; in words. Inside a transaction. `at`: the store's time."""
    (incarnation,) = connection.execute("SELECT value FROM meta WHERE name = 'incarnation'").fetchone()
    adopt(connection, found.behind, incarnation)
    words = found.words
    for history in histories(connection, found.damaged):
        number = streams(connection).get((history.key.tenant, history.key.user), 0) + 1
        copies = _copies(connection, history.key)
        mended = repair_of(history, copies, at=moment(at), position=Position(incarnation, number))
        if mended is None:
            continue
        words.append(mended.words)
        if mended.history is not None:
            load(connection, [mended.history])
            adopt(connection, mended.streams, incarnation)
    return words


def _copies(connection: sqlite3.Connection, original: Key) -> list[Record]:
    """What may be copies of a record, good or not."""
    prefix = copy_prefix(original)
    asked = (copy_kind(original), original.tenant, original.user, prefix, prefix_end(prefix))
    rows = [tables.row_from(values) for values in tables.fetch(connection, _COPIES, asked, tables.RECORD)]
    return [row.record for row in rows if row.record is not None]


def _file_problems(connection: sqlite3.Connection) -> Iterator[Problem]:
    try:
        for (words,) in connection.execute(f"PRAGMA integrity_check({FILE_PROBLEMS_MAX})"):
            if words != "ok":
                yield Problem(where="file", expected="a sound structure", seen=words)
    except sqlite3.DatabaseError as error:
        yield Problem(where="file", expected="a structure that can be checked", seen=str(error))


def _of_keys(table: str, columns: str) -> str:
    named = ", ".join(f"{table}.{name} AS {name}" for name in columns.split(", "))
    return f"""
        SELECT k.key AS number, {named} FROM json_each(?) AS k CROSS JOIN {table}
        ON {table}.kind = json_extract(k.value, '$[2]') AND {table}.tenant = json_extract(k.value, '$[0]')
        AND {table}.user = json_extract(k.value, '$[1]') AND {table}.id = json_extract(k.value, '$[3]')"""


_TRIMMABLE = """
    SELECT tenant, user, kind, id FROM events GROUP BY kind, id, tenant, user
    HAVING min(at_us) < ? AND (count(*) > ? OR NOT EXISTS (
        SELECT 1 FROM records AS r
        WHERE r.kind = events.kind AND r.tenant = events.tenant AND r.user = events.user AND r.id = events.id))"""
_COPIES = f"""
    SELECT {tables.RECORD} FROM records
    WHERE kind = ? AND tenant = ? AND user = ? AND id >= ? AND id < ? AND deleted = 0"""
_ROWS = _of_keys("records", tables.RECORD)
_EVENTS = _of_keys("events", tables.EVENT) + " ORDER BY number, incarnation, seq"
_ANCHORS = _of_keys("anchors", "digest")
_DROP = """
    DELETE FROM events WHERE kind = ? AND id = ? AND tenant = ? AND user = ? AND (incarnation, seq) <= (?, ?)"""
_UNANCHOR = "DELETE FROM anchors WHERE tenant = ? AND user = ? AND kind = ? AND id = ?"
_ANCHOR = """
    INSERT INTO anchors (tenant, user, kind, id, digest) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (kind, tenant, user, id) DO UPDATE SET digest = excluded.digest"""
