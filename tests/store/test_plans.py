"""Every query that runs ask all the time searches an index, however many records there are."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from holdfast.store.contract.records import Claim, Position, Query, Scope
from holdfast.store.sqlite import select
from holdfast.store.sqlite.select import Select
from holdfast.store.sqlite.store import SqliteStore
from holdfast.testing.conformance.samples import ANA, SYSTEM, TENANT, key


def claim(**fields: object) -> Select:
    return select.claim(SYSTEM, Claim(kind="run", owner="me", **fields))  # type: ignore[arg-type]


def scan(scope: Scope = SYSTEM, **fields: object) -> Select:
    return select.scan(scope, Query(kind="run", **fields), None, 100)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        (claim(from_owners=("",), due_until=1.0), "records_due"),
        (claim(from_owners=("",), statuses=("active",), due_until=1.0), "records_status"),
        (claim(from_owners=("dead", "too")), "records_owner"),
        (scan(by_due=True), "records_due"),
        (scan(by_due=True, due_until=5.0), "records_due"),
        (scan(statuses=("active",)), "records_status"),
        (scan(owner="me"), "records_owner"),
        (scan(ANA), "records_key"),
        (scan(TENANT), "records_key"),
        (scan(ANA, prefix="v1/"), "records_key"),
        (scan(TENANT, labels={"ticket": "INC-1"}), "run_ticket"),
        (scan(owner="me", statuses=("running", "waiting"), queues=("q",)), "records_owner"),
        (scan(owner="", statuses=("waiting",), queues=("q",), by_due=True), "records_status"),
        (scan(ANA, prefix="v1/", statuses=("new", "early")), "records_key"),
        (claim(from_owners=("",), ids=("a",)), "run_workflow"),
        (claim(from_owners=("me",), ids=("a", "b")), "run_workflow"),
        (select.read([key("a")]), "records_key"),
        (select.events(key("a"), None, None, 0, 10), "events_journal"),
        (select.events(None, ("acme", "ana"), Position(1, 5), 0, 10), "events_stream"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_query_searches_its_index(tmp_path: Path, asked: Select, index: str) -> None:
    await SqliteStore(tmp_path / "store.db").close()
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {asked.sql}", asked.parameters)]
    assert any(f"USING INDEX {index}" in step for step in steps), steps
    assert not any(step.startswith(("SCAN records", "SCAN events")) for step in steps), steps
