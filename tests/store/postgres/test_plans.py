"""Every query that runs ask all the time searches an index, however many records there are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from holdfast.store.contract.protocol import history_order
from holdfast.store.contract.records import Claim, Position, Query, Scope
from holdfast.store.postgres import inspection, select, tables
from holdfast.store.postgres.address import parse
from holdfast.store.postgres.connections import Connection, Connections, reach
from holdfast.store.postgres.reader import READ
from holdfast.store.postgres.select import Select
from holdfast.testing.conformance.samples import ANA, SYSTEM, TENANT, key

FILL = """
INSERT INTO holdfast.records (kind, tenant, "user", id, version, epoch, due_us, written_us, deleted, owner, chain,
    status, queue, change_id, digest, labels, body)
SELECT kind, CASE WHEN n % 100 < 3 THEN 'acme' ELSE 't' || n % 40 END, (ARRAY['ana', 'bob', ''])[1 + n % 3], kind || n,
    1, 1, CASE WHEN n % 50 = 0 THEN n END, n, false, CASE WHEN n % 100 = 0 THEN 'p' || n % 7 ELSE '' END, '',
    CASE WHEN kind = 'run' THEN (ARRAY['done', 'done', 'done', 'waiting'])[1 + n % 4] ELSE '' END, 'q', 'c', 'd',
    jsonb_build_object('ticket', 'T-' || n, 'main_state', 'x'), '{}'
FROM generate_series(1, 6000) AS n CROSS JOIN (VALUES ('run'), ('memo'), ('signal')) AS kinds (kind);
INSERT INTO holdfast.events (kind, tenant, "user", id, incarnation, seq, version, at_us, name, change_id, previous,
    digest, body, delta)
SELECT 'run', 'acme', 'ana', 'run' || n % 2000, 1, n, 1, n, 'transition', 'c', '', 'd', '{}', ''
FROM generate_series(1, 10000) AS n;
"""
ANALYZE = "ANALYZE holdfast.records; ANALYZE holdfast.events"


@pytest.fixture
async def connection(database: str) -> AsyncIterator[Connection]:
    """A transaction as every call has it, in a store with some thousand records."""
    async with filled(database, FILL, ANALYZE) as connection:
        yield connection


@pytest.fixture
async def never_analyzed(database: str) -> AsyncIterator[Connection]:
    """The same in a store that is younger than the server's first look at it."""
    async with filled(database, FILL) as connection:
        yield connection


@asynccontextmanager
async def filled(database: str, *statements: str) -> AsyncIterator[Connection]:
    connections = Connections(parse(database), size=4)
    async with connections.writing(SYSTEM) as filling:
        await filling.execute("RESET ROLE")
        for statement in statements:
            await filling.execute(statement)
    async with connections.writing(ANA) as connection:
        yield connection
    await connections.close()


def claim(**fields: object) -> Select:
    return select.claim(SYSTEM, Claim(kind="run", owner="me", **fields))  # type: ignore[arg-type]


def scan(scope: Scope = SYSTEM, **fields: object) -> Select:
    return select.scan(scope, Query(kind="run", **fields), None, 100)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "indexes"),
    [
        (claim(from_owners=("",), due_until=1.0), "records_due records_status"),
        (claim(from_owners=("",), statuses=("waiting",), due_until=1.0), "records_due records_status"),
        (claim(from_owners=("p1", "p2")), "records_owner"),
        (scan(by_due=True, due_until=5.0), "records_due"),
        (scan(owner="p1"), "records_owner"),
        (scan(ANA), "records_key run_workflow"),
        (scan(TENANT), "records_key run_workflow"),
        (scan(ANA, prefix="run12"), "records_key run_workflow"),
        (scan(TENANT, labels={"ticket": "T-5"}), "run_ticket"),
        (scan(owner="p1", statuses=("running", "waiting"), queues=("q",)), "records_owner"),
        (claim(from_owners=("",), ids=("a",)), "run_workflow"),
        (select.events(key("run5"), None, None, 0, 10), "events_journal"),
        (select.events(None, ("acme", "ana"), Position(1, 5), 0, 10), "events_stream"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_query_searches_its_index(connection: Connection, asked: Select, indexes: str) -> None:
    plan = await plan_of(connection, asked)
    assert any(f"using {index}" in plan or f"on {index}" in plan for index in indexes.split()), plan
    assert "Seq Scan" not in plan, plan


async def test_a_whole_scope_is_not_read_for_one_of_its_rows(connection: Connection) -> None:
    """Of 18,000 rows a read of 20 keys touches those."""
    role, listed = reach([ANA])
    keys = [history_order(key(f"run{number * 300}")) for number in range(1, 21)]
    asked = tables.text_of({"role": role, "scopes": msgspec.Raw(listed), "keys": keys})
    before = await touched(connection)
    assert 0 < len(await connection.fetch(READ, asked)) <= 20
    by_scans, by_index = [now - then for now, then in zip(await touched(connection), before, strict=True)]
    assert by_scans == 0
    assert by_index <= 20


async def test_a_journal_is_found_by_its_key_before_there_are_statistics(never_analyzed: Connection) -> None:
    """Each of 2,000 runs of one user has five events. One journal, from its beginning and from its middle, and the
    journals of a page of runs are read, and not what the user has beside."""
    for after, count in ((None, 5), (Position(1, 2005), 3)):
        asked = select.events(key("run5"), None, after, 0, 100)
        before = await touched(never_analyzed, "events")
        assert len(await never_analyzed.fetch(asked.sql, *asked.parameters)) == count
        assert await touched(never_analyzed, "events") == (before[0], before[1] + count)
    before = await touched(never_analyzed, "events")
    await never_analyzed.execute("RESET ROLE")  # as whoever looks after the store
    keys = sorted((key(f"run{number}") for number in range(100)), key=history_order)
    assert sum(len(history.events) for history in await inspection.histories(never_analyzed, keys)) == 500
    assert await touched(never_analyzed, "events") == (before[0], before[1] + 500)


async def touched(connection: Connection, table: str = "records") -> tuple[int, int]:
    """How many rows of a table this transaction has read: by going through all of them, and by an index."""
    asked = "SELECT seq_tup_read, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = $1"
    (found,) = await connection.fetch(asked, table)
    return found[0], found[1]


async def plan_of(connection: Connection, asked: Select, *, options: str = "COSTS OFF") -> str:
    rows = await connection.fetch(f"EXPLAIN ({options}) {asked.sql}", *asked.parameters)
    return "\n".join(row[0] for row in rows)
