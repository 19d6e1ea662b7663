"""The three tables that operators know, as views: their columns, their values, and that searching them is quick."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast.store.contract.records import Key, Query
from holdfast.store.sqlite.store import SqliteStore
from holdfast.testing.conformance.samples import ANA, StepClock, change, delete, event, key, put

RUN = "01920000-0000-7000-8000-000000000001"
LABELS = {"ticket": "INC-1", "workflow": "incident", "main_state": "ticket_processing"}
BODY = {
    "ticket_id": "INC-1",
    "main_state": "ticket_processing",
    "sub_state": "analysis",
    "detailed_state": "k8s_event_analysis|source_code_analysis",
    "data": {"service": "shop", "list": [1]},
    "created_at": 1700000000.25,
    "retry_count": 1,
    "max_retries": 3,
    "timeout_at": None,
    "escalated": False,
}
TRANSITION = {
    "from": "ticket_processing:analysis:data_collection",
    "to": "ticket_processing:analysis:k8s_event_analysis",
    "trigger": "collected",
    "agent": "bot",
    "metadata": {"why": "data"},
}


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """A store with a run, its transition and a checkpoint; and a run that was deleted."""
    clock = StepClock(1_700_000_100.5)
    store = SqliteStore(tmp_path / "store.db", clock=clock)
    await store.commit(
        ANA,
        change(
            put(RUN, body=json.dumps(BODY).encode(), labels=LABELS, status="active"),
            put("gone"),
            put(
                key(f"{RUN}/before", kind="checkpoint"),
                body=json.dumps(
                    {"workflow_id": RUN, "name": "before", "snapshot": {"n": 1}, "created_at": 1700000000}
                ).encode(),
            ),
            event(RUN, body=json.dumps(TRANSITION).encode()),
            event(RUN, name="note"),
        ),
    )
    await store.commit(ANA, change(delete("gone")))
    await store.close()
    return tmp_path / "store.db"


@pytest.fixture
def reader(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(file)) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


def rows(reader: sqlite3.Connection, view: str) -> list[dict[str, Any]]:
    return [dict(row) for row in reader.execute(f"SELECT * FROM {view}")]


def test_workflow_states(reader: sqlite3.Connection) -> None:
    (row,) = rows(reader, "workflow_states")
    assert json.loads(row.pop("context")) == BODY["data"]
    assert row == {
        "workflow_id": RUN,
        "ticket_id": "INC-1",
        "main_state": "ticket_processing",
        "sub_state": "analysis",
        "detailed_state": "k8s_event_analysis|source_code_analysis",
        "created_at": "2023-11-14T22:13:20.250Z",
        "updated_at": "2023-11-14T22:15:00.500Z",
        "retry_count": 1,
        "max_retries": 3,
        "timeout_at": None,
        "escalated": 0,
        "version": 1,
    }


def test_state_transitions(reader: sqlite3.Connection) -> None:
    (row,) = rows(reader, "state_transitions")
    assert json.loads(row.pop("metadata")) == TRANSITION["metadata"]
    assert row == {
        "id": 1,
        "workflow_id": RUN,
        "from_state": TRANSITION["from"],
        "to_state": TRANSITION["to"],
        "timestamp": "2023-11-14T22:15:00.500Z",
        "trigger_event": "collected",
        "agent_id": "bot",
        "created_at": "2023-11-14T22:15:00.500Z",
    }


def test_workflow_checkpoints(reader: sqlite3.Connection) -> None:
    (row,) = rows(reader, "workflow_checkpoints")
    assert row == {
        "id": f"{RUN}/before",
        "workflow_id": RUN,
        "checkpoint_name": "before",
        "state_snapshot": '{"n":1}',
        "created_at": "2023-11-14T22:13:20.000Z",
    }


@pytest.mark.parametrize(
    ("view", "condition"),
    [
        ("workflow_states", "workflow_id = ?"),
        ("workflow_states", "ticket_id = ?"),
        ("workflow_states", "main_state = ?"),
        ("workflow_states", "updated_at > ?"),
        ("state_transitions", "workflow_id = ?"),
        ("state_transitions", "timestamp > ?"),
        ("workflow_checkpoints", "workflow_id = ?"),
    ],
)
def test_what_is_searched_by_has_an_index(reader: sqlite3.Connection, view: str, condition: str) -> None:
    plan = " ".join(
        row["detail"] for row in reader.execute(f"EXPLAIN QUERY PLAN SELECT * FROM {view} WHERE {condition}", ("x",))
    )
    assert "SEARCH" in plan
    assert "SCAN" not in plan


async def test_run_is_found_by_label_through_the_index(file: Path) -> None:
    """The same index serves the store's own queries by these labels."""
    store = SqliteStore(file)
    page = await store.scan(ANA, Query(kind="run", labels={"ticket": "INC-1"}))
    assert [record.key for record in page.records] == [Key("acme", "ana", "run", RUN)]
    await store.close()
