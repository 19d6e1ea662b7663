"""A whole PostgreSQL store read record by record, with its journal: for copying, checking, repairing and trimming it.

In pages of one REPEATABLE READ transaction, so that neither memory nor any lock grows with the store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from holdfast.store.contract.history import History, Row, Stream
from holdfast.store.contract.protocol import history_order
from holdfast.store.contract.records import Event, Key, Position, Record
from holdfast.store.decisions.rules import moment, prefix_end
from holdfast.store.postgres import tables
from holdfast.store.postgres.connections import Connection
from holdfast.store.rows.copies import copy_kind, copy_prefix
from holdfast.store.rows.journal import kept_from
from holdfast.store.upkeep.mend import Survey, repair_of

PAGE_KEYS = 500
"""How many records, with their journals, are in memory at once."""
WHOLE = "ISOLATION LEVEL REPEATABLE READ"
"""What a transaction that looks at everything begins with."""
_COLUMNS = 'kind, tenant, "user", id'


class PostgresSnapshot:
    """A `Snapshot`: everything as one transaction sees it."""

    def __init__(self, connection: Connection, incarnation: int) -> None:
        self._connection = connection
        self.incarnation = incarnation

    async def histories(self, *, after: Key | None = None) -> AsyncIterator[History]:
        while page := await _page(self._connection, after):
            for history in await histories(self._connection, page):
                yield history
            after = page[-1]

    async def streams(self) -> dict[Stream, int]:
        return await streams(self._connection)


async def snapshot(connection: Connection) -> PostgresSnapshot:
    """The view of a transaction that began with WHOLE."""
    return PostgresSnapshot(connection, await incarnation_of(connection))


async def incarnation_of(connection: Connection) -> int:
    """Which incarnation the streams are in."""
    number: int = await connection.fetchval("SELECT value FROM holdfast.meta WHERE name = 'incarnation'")
    return number


async def is_empty(connection: Connection) -> bool:
    """Whether there is neither a record nor an event."""
    sql = "SELECT NOT EXISTS (SELECT FROM holdfast.records) AND NOT EXISTS (SELECT FROM holdfast.events)"
    return bool(await connection.fetchval(sql))


async def streams(connection: Connection) -> dict[Stream, int]:
    """The last number of each user's stream."""
    return {
        (row[0], row[1]): row[2] for row in await connection.fetch('SELECT tenant, "user", seq FROM holdfast.streams')
    }


async def histories(connection: Connection, keys: Sequence[Key], *, lock: bool = False) -> list[History]:
    """What is held under each of `keys`, sorted by `history_order`; with `lock` nobody changes it meanwhile."""
    asked = tables.key_list(keys)
    rows: dict[int, Row] = {}
    events: dict[int, list[Event]] = {}
    await connection.execute(_BY_INDEX)
    for number, *values in await connection.fetch(_rows_sql(lock), asked):
        rows[number] = tables.record_from(values)
    for number, *values in await connection.fetch(_EVENTS, asked):
        events.setdefault(number, []).append(tables.event_from(values))
    anchors: dict[int, str] = dict(await connection.fetch(_ANCHORS, asked))
    return [
        History(key=key, row=rows.get(number), events=events.get(number, []), anchor=anchors.get(number, ""))
        for number, key in enumerate(keys, 1)
    ]


async def load(connection: Connection, given: Sequence[History]) -> None:
    """Put what `given` tells in place of what is under its keys."""
    asked = tables.key_list(sorted((history.key for history in given), key=history_order))
    await connection.fetch(_rows_sql(lock=True), asked)
    for sql in _CLEAR:
        await connection.execute(sql, asked)
    await tables.put_rows(connection, [history.row for history in given if history.row is not None])
    await tables.put_events(connection, [event for history in given for event in history.events])
    anchors = [(*history_order(history.key), history.anchor) for history in given if history.anchor]
    await _put_anchors(connection, anchors)


async def adopt(connection: Connection, known: Mapping[Stream, int], incarnation: int) -> None:
    """Number on behind `known` and `incarnation`, where they are ahead."""
    numbers = sorted((*stream, seq) for stream, seq in known.items())
    await connection.execute(_ADOPT, *([list(column) for column in zip(*numbers, strict=True)] or [[], [], []]))
    await connection.execute(
        "UPDATE holdfast.meta SET value = greatest(value, $1) WHERE name = 'incarnation'", incarnation
    )


async def clear(connection: Connection) -> None:
    """Delete everything, while nobody else commits."""
    await connection.execute(
        "LOCK TABLE holdfast.records, holdfast.events, holdfast.streams IN SHARE ROW EXCLUSIVE MODE"
    )
    for table in ("records", "events", "streams", "anchors"):
        await connection.execute(f"DELETE FROM holdfast.{table}")


async def keys_with_events_before(connection: Connection, before_s: float, after: Key | None) -> list[Key]:
    """A page of the keys whose journals have events older than `before_s`."""
    behind, given = _behind(after, first=2)
    sql = _page_of("events", f"at_us < $1 {behind}")
    return [_key(row) for row in await connection.fetch(sql, tables.microseconds(before_s), *given)]


async def trim(connection: Connection, keys: Sequence[Key], *, before_s: float, keep: int) -> int:
    """Drop the events of some records that `journal.kept_from` lets go; how many went."""
    count = 0
    for history in await histories(connection, keys, lock=True):
        cut = kept_from(history.events, before_s=before_s, keep=keep, is_gone=history.row is None)
        if cut == 0:
            continue
        last = history.events[cut - 1]
        await connection.execute(_DROP, *history_order(history.key), *last.position)
        if cut < len(history.events):
            await _put_anchors(connection, [(*history_order(history.key), last.digest)])
        else:
            await connection.execute(_UNANCHOR, *history_order(history.key))
        count += cut
    return count


async def repair(connection: Connection, found: Survey, *, at: float) -> list[str]:
    """Mend what was found damaged as far as possible; in words. `at`: the store's time."""
    incarnation = await incarnation_of(connection)
    await adopt(connection, found.behind, incarnation)
    words = found.words
    for key in found.damaged:
        (history,) = await histories(connection, [key], lock=True)
        number = (await streams(connection)).get((key.tenant, key.user), 0) + 1
        copies = await _copies(connection, key)
        mended = repair_of(history, copies, at=moment(at), position=Position(incarnation, number))
        if mended is None:
            continue
        words.append(mended.words)
        if mended.history is not None:
            await load(connection, [mended.history])
            await adopt(connection, mended.streams, incarnation)
    return words


async def _copies(connection: Connection, original: Key) -> list[Record]:
    """What may be copies of a record, good or not."""
    prefix = copy_prefix(original)
    family = (copy_kind(original), original.tenant, original.user)
    rows = await connection.fetch(_COPIES, *family, prefix, prefix_end(prefix))
    return [record for values in rows if (record := tables.record_from(values).record) is not None]


async def _page(connection: Connection, after: Key | None) -> list[Key]:
    behind, given = _behind(after, first=1)
    parts = [f"SELECT * FROM ({_page_of(table, f'true {behind}')}) AS {table}" for table in ("records", "events")]
    sql = f"{' UNION '.join(parts)} ORDER BY {_COLUMNS} LIMIT {PAGE_KEYS}"
    return [_key(row) for row in await connection.fetch(sql, *given)]


def _page_of(table: str, condition: str) -> str:
    return f"SELECT DISTINCT {_COLUMNS} FROM holdfast.{table} WHERE {condition} ORDER BY {_COLUMNS} LIMIT {PAGE_KEYS}"


def _behind(after: Key | None, *, first: int) -> tuple[str, Iterable[str]]:
    if after is None:
        return "", ()
    marks = ", ".join(f"${first + number}" for number in range(4))
    return f"AND ({_COLUMNS}) > ({marks})", history_order(after)


def _key(row: Sequence[str]) -> Key:
    kind, tenant, user, id_ = row
    return Key(tenant, user, kind, id_)


async def _put_anchors(connection: Connection, anchors: Sequence[Sequence[str]]) -> None:
    if anchors:
        await connection.execute(_ANCHOR, *(list(column) for column in zip(*anchors, strict=True)))


_GIVEN = "jsonb_array_elements($1::text::jsonb) WITH ORDINALITY AS k (g, number)"
_ON_KEY = 't.kind = g ->> 0 AND t.tenant = g ->> 1 AND t."user" = g ->> 2 AND t.id = g ->> 3'


def _of_keys(table: str, columns: str, ending: str = "") -> str:
    """The rows of a list of keys, one key after the other (OFFSET keeps the planner from turning that around)."""
    return f"""
        SELECT number, found.* FROM {_GIVEN} CROSS JOIN LATERAL (
            SELECT {columns} FROM holdfast.{table} AS t WHERE {_ON_KEY} {ending}
        ) AS found"""


def _rows_sql(lock: bool) -> str:
    return _of_keys("records", tables.RECORD, "LIMIT 1 FOR UPDATE" if lock else "LIMIT 1")


_BY_INDEX = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off"
_FROM = '(t.kind, t.tenant, t."user", t.id) >= (g ->> 0, g ->> 1, g ->> 2, g ->> 3)'
_TO = '(t.kind, t.tenant, t."user", t.id) <= (g ->> 0, g ->> 1, g ->> 2, g ->> 3)'
_EVENTS = f"""
    SELECT number, found.* FROM {_GIVEN} CROSS JOIN LATERAL (
        SELECT {tables.EVENT} FROM holdfast.events AS t WHERE {_FROM} AND {_TO}
        ORDER BY {_COLUMNS}, incarnation, seq OFFSET 0
    ) AS found"""
"""Keys are compared as rows: to a planner without statistics the index of the streams looks as good for a key as that
of the journals, and it reads all that a user has, for each of his records."""
_ANCHORS = _of_keys("anchors", "digest", "LIMIT 1")
_CLEAR = [
    f"DELETE FROM holdfast.{table} WHERE ctid IN (SELECT found.place FROM {_GIVEN} CROSS JOIN LATERAL ("
    f"SELECT ctid AS place FROM holdfast.{table} AS t WHERE {_ON_KEY} OFFSET 0) AS found)"
    for table in ("records", "events", "anchors")
]
_DROP = """
    DELETE FROM holdfast.events
    WHERE kind = $1 AND tenant = $2 AND "user" = $3 AND id = $4 AND (incarnation, seq) <= ($5, $6)"""
_UNANCHOR = 'DELETE FROM holdfast.anchors WHERE kind = $1 AND tenant = $2 AND "user" = $3 AND id = $4'
_COPIES = f"""
    SELECT {tables.RECORD} FROM holdfast.records
    WHERE kind = $1 AND tenant = $2 AND "user" = $3 AND id >= $4 AND id < $5 AND NOT deleted"""
_ANCHOR = """
    INSERT INTO holdfast.anchors (kind, tenant, "user", id, digest)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
    ON CONFLICT (kind, tenant, "user", id) DO UPDATE SET digest = excluded.digest"""
_ADOPT = """
    INSERT INTO holdfast.streams AS s (tenant, "user", seq)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
    ON CONFLICT (tenant, "user") DO UPDATE SET seq = greatest(s.seq, excluded.seq)"""
