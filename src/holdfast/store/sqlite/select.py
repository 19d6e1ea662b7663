"""Queries and claims as SQL. What they mean is said by `paging`; these conditions say the same to SQLite."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from holdfast import codec
from holdfast.store.contract.history import Stream
from holdfast.store.contract.records import Claim, Key, Position, Query, Scope
from holdfast.store.decisions.paging import Place
from holdfast.store.decisions.rules import prefix_end
from holdfast.store.sqlite.tables import BEYOND_EVERY_ID, EVENT, RECORD, microseconds

_TELLING = {("run", "ticket"): "run_ticket"}
"""Labels that few records share, and their index. Without statistics SQLite would rather go through all of a tenant."""
_BY_ID = {"run": "run_workflow"}
"""Kinds whose records are claimed by id from any user, and their index."""
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


class Select(NamedTuple):
    """A statement and its parameters."""

    sql: str
    parameters: tuple[Any, ...]


class _Where:
    """Conditions that all must hold, with their parameters."""

    def __init__(self) -> None:
        self._conditions: list[str] = []
        self._parameters: list[Any] = []

    def add(self, condition: str, *parameters: Any) -> None:
        self._conditions.append(condition)
        self._parameters += parameters

    def one_of(self, column: str, values: tuple[str, ...]) -> None:
        """`column` is one of `values`; no values, no condition."""
        if values:
            self.add(f"{column} IN ({', '.join('?' * len(values))})", *values)
            if column in ("status", "owner") and "" not in values:
                self.add(f"{column} <> ''")  # lets SQLite use the partial index

    def scope(self, scope: Scope) -> None:
        if scope.tenant is not None:
            self.add("tenant = ?", scope.tenant)
            if scope.user is not None:
                self.add("user IN (?, '')", scope.user)

    def kind(self, kind: str) -> None:
        """Literal, for a partial index of one kind is used only where SQLite sees which kind it is."""
        self.add(f"kind = {_literal(kind)} AND deleted = 0")

    def label(self, name: str, value: str) -> None:
        if _PLAIN.fullmatch(name):
            self.add(f"json_extract(labels, '$.{name}') = ?", value)  # as the indexes have it
        else:
            self.add("EXISTS (SELECT 1 FROM json_each(labels) AS l WHERE l.key = ? AND l.value = ?)", name, value)

    def select(self, columns: str, table: str, order: str, limit: int) -> Select:
        where = " AND ".join(self._conditions)
        sql = f"SELECT {columns} FROM {table} WHERE {where} ORDER BY {order} LIMIT ?"
        return Select(sql, (*self._parameters, limit))


def read(keys: list[Key]) -> Select:
    """The rows of `keys`, each behind its number in the list."""
    columns = ", ".join(f"records.{name} AS {name}" for name in RECORD.split(", "))  # json_each has an id, too
    sql = f"""
        SELECT k.key AS number, {columns} FROM json_each(?) AS k CROSS JOIN records
        ON kind = json_extract(k.value, '$[2]') AND tenant = json_extract(k.value, '$[0]')
        AND user = json_extract(k.value, '$[1]') AND records.id = json_extract(k.value, '$[3]')
        WHERE deleted = 0"""
    return Select(sql, (codec.encode(keys, bytes_max=1 << 30).decode(),))


def scan(scope: Scope, query: Query, start: Place | None, limit: int) -> Select:
    """One page of a query, in order, and one more to see whether there is another page."""
    where = _Where()
    where.kind(query.kind)
    where.scope(scope)
    indexed = next((name for name in query.labels if (query.kind, name) in _TELLING), None)
    table = f"records INDEXED BY {_TELLING[query.kind, indexed]}" if indexed else "records"
    if query.prefix:
        where.add("id >= ? AND id < ?", query.prefix, prefix_end(query.prefix) or BEYOND_EVERY_ID)
    where.one_of("status", query.statuses)
    where.one_of("queue", query.queues)
    if query.owner is not None:
        where.one_of("owner", (query.owner,))
    if query.due_until is not None:
        where.add("due_us <= ?", microseconds(query.due_until))
    for name, value in query.labels.items():
        where.label(name, value)
    order = "id, tenant, user"
    if query.by_due:
        where.add("due_us IS NOT NULL")
        order = "due_us, " + order
    if start is not None:
        due, *place = start
        parameters = [microseconds(due), *place] if query.by_due else place
        where.add(f"({order}) > ({', '.join('?' * len(parameters))})", *parameters)
    return where.select(RECORD, table, order, limit + 1)


def claim(scope: Scope, claim: Claim) -> Select:
    """The records that a claim takes, in the order in which it takes them."""
    where = _Where()
    where.kind(claim.kind)
    where.scope(scope)
    where.one_of("owner", claim.from_owners)
    where.one_of("status", claim.statuses)
    where.one_of("queue", claim.queues)
    if claim.ids:
        where.add("id IN (SELECT value FROM json_each(?))", codec.encode(claim.ids, bytes_max=1 << 30).decode())
    if claim.due_until is not None:
        where.add("due_us <= ?", microseconds(claim.due_until))
    table = f"records INDEXED BY {_BY_ID[claim.kind]}" if claim.ids and claim.kind in _BY_ID else "records"
    return where.select(RECORD, table, "due_us IS NULL, due_us, written_us, id, tenant, user", claim.limit)


def events(record: Key | None, stream: Stream | None, after: Position | None, after_version: int, limit: int) -> Select:
    """Journal rows of one record, or of one user's stream, in order."""
    where = _Where()
    if record is not None:
        where.add("kind = ? AND id = ? AND tenant = ? AND user = ?", record.kind, record.id, record.tenant, record.user)
        where.add("version > ?", after_version)
    elif stream is not None:
        where.add("tenant = ? AND user = ?", *stream)
    if after is not None:
        where.add("(incarnation, seq) > (?, ?)", *after)
    return where.select(EVENT, "events", "incarnation, seq", limit)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
