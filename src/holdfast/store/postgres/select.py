"""Queries and claims as SQL. What they mean is said by `paging`; these conditions say the same to PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from holdfast.store.contract.history import Stream
from holdfast.store.contract.protocol import history_order
from holdfast.store.contract.records import Claim, Key, Position, Query, Scope
from holdfast.store.decisions.paging import Place
from holdfast.store.decisions.rules import prefix_end
from holdfast.store.postgres.tables import EVENT, RECORD, microseconds

COLUMNS = ("ticket", "main_state")
"""Labels that are columns, too, with an index."""


class Select(NamedTuple):
    """A statement and its parameters."""

    sql: str
    parameters: tuple[Any, ...]


class _Where:
    """Conditions that all must hold, with their parameters. `?` in a condition stands for the next parameter."""

    def __init__(self) -> None:
        self._conditions: list[str] = []
        self._parameters: list[Any] = []

    def add(self, condition: str, *parameters: Any) -> None:
        for value in parameters:
            self._parameters.append(value)
            condition = condition.replace("?", f"${len(self._parameters)}", 1)
        self._conditions.append(condition)

    def one_of(self, column: str, values: tuple[str, ...]) -> None:
        """`column` is one of `values`; no values, no condition."""
        if values:
            self.add(f"{column} = ANY (?::text[])", list(values))
            if column in ("status", "owner") and "" not in values:
                self.add(f"{column} <> ''")  # lets the partial index be used

    def scope(self, scope: Scope) -> None:
        if scope.tenant is not None:
            self.add("tenant = ?", scope.tenant)
            if scope.user is not None:
                self.add("\"user\" IN (?, '')", scope.user)

    def kind(self, kind: str) -> None:
        """Literal, for a partial index of one kind is used only where the planner sees which kind it is."""
        literal = kind.replace("'", "''")
        self.add(f"kind = '{literal}' AND NOT deleted")

    def select(self, columns: str, table: str, order: str, limit: int, ending: str = "") -> Select:
        self._parameters.append(limit)
        where = " AND ".join(self._conditions)
        sql = f"SELECT {columns} FROM {table} WHERE {where} ORDER BY {order} LIMIT ${len(self._parameters)} {ending}"
        return Select(sql, tuple(self._parameters))


def scan(scope: Scope, query: Query, start: Place | None, limit: int) -> Select:
    """One page of a query, in order, and one more to see whether there is another page."""
    where = _Where()
    where.kind(query.kind)
    where.scope(scope)
    if query.prefix:
        where.add("id >= ?", query.prefix)
        if end := prefix_end(query.prefix):
            where.add("id < ?", end)
    where.one_of("status", query.statuses)
    where.one_of("queue", query.queues)
    if query.owner is not None:
        where.one_of("owner", (query.owner,))
    if query.due_until is not None:
        where.add("due_us <= ?", microseconds(query.due_until))
    for name, value in query.labels.items():
        if name in COLUMNS:
            where.add(f"{name} = ?", value)
        else:
            where.add("labels ->> ?::text = ?", name, value)
    order = 'id, tenant, "user"'
    if query.by_due:
        where.add("due_us IS NOT NULL")
        order = "due_us, " + order
    if start is not None:
        due, *place = start
        parameters = [microseconds(due), *place] if query.by_due else place
        where.add(f"({order}) > ({', '.join('?' * len(parameters))})", *parameters)
    return where.select(RECORD, "holdfast.records", order, limit + 1)


def claim(scope: Scope, claim: Claim) -> Select:
    """The records that a claim takes, in the order in which it takes them. Those that somebody holds are passed."""
    where = _Where()
    where.kind(claim.kind)
    where.scope(scope)
    where.one_of("owner", claim.from_owners)
    where.one_of("status", claim.statuses)
    where.one_of("queue", claim.queues)
    if claim.ids:
        where.add("id = ANY (?::text[])", list(claim.ids))
    if claim.due_until is not None:
        where.add("due_us <= ?", microseconds(claim.due_until))
    order = 'due_us NULLS LAST, written_us, id, tenant, "user"'
    return where.select(RECORD, "holdfast.records", order, claim.limit, "FOR UPDATE SKIP LOCKED")


def stream_ends(streams: Sequence[Stream]) -> Select:
    """The incarnation, and the last number of each stream, in their order; each is looked up in the index."""
    return Select(
        """
        SELECT
            (SELECT value FROM holdfast.meta WHERE name = 'incarnation') AS incarnation,
            coalesce(there.seq, 0) AS seq
        FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (tenant, who, place)
        LEFT JOIN LATERAL (
            SELECT seq FROM holdfast.streams AS s WHERE s.tenant = asked.tenant AND s."user" = asked.who LIMIT 1
        ) AS there ON true
        ORDER BY asked.place""",
        ([tenant for tenant, _ in streams], [user for _, user in streams]),
    )


def events(record: Key | None, stream: Stream | None, after: Position | None, after_version: int, limit: int) -> Select:
    """Journal rows of one record, or of one user's stream, in order."""
    where, order = _Where(), "incarnation, seq"
    if record is not None:
        # Compared as rows, not column by column: a planner without statistics would take the index of the streams for
        # as good, and read all that the user has.
        key, order = history_order(record), f'kind, tenant, "user", id, {order}'
        if after is None:
            where.add('(kind, tenant, "user", id) >= (?, ?, ?, ?)', *key)
        else:
            where.add('(kind, tenant, "user", id, incarnation, seq) > (?, ?, ?, ?, ?, ?)', *key, *after)
        where.add('(kind, tenant, "user", id) <= (?, ?, ?, ?)', *key)
        where.add("version > ?", after_version)
        return where.select(EVENT, "holdfast.events", order, limit)
    if stream is not None:
        where.add('tenant = ? AND "user" = ?', *stream)
    if after is not None:
        where.add("(incarnation, seq) > (?, ?)", *after)
    return where.select(EVENT, "holdfast.events", order, limit)
