"""What the tests of the engine read of a journal, and what must hold of every journal whatever was done."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import RunHandle, codec
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Event, Query, Scope
from holdfast.store.rows import journal
from holdfast.workflow.decisions.decision import TRANSITION
from holdfast.workflow.model.run import RUN, decode_run, spec_text


def facts(event: Event) -> dict[str, Any]:
    """The stored body of a journal row."""
    return codec.decode(event.body, dict[str, Any])


async def moves(run: RunHandle) -> list[str]:
    """The transitions of a run as "from -trigger-> to", in order."""
    bodies = [facts(event) for event in await run.history() if event.name == TRANSITION]
    return [f"{body['from']} -{body['trigger']}-> {body['to']}".strip() for body in bodies]


async def told(run: RunHandle, name: str) -> list[dict[str, Any]]:
    """The metadata of a run's journal rows of one name, in order."""
    return [facts(event)["metadata"] for event in await run.history() if event.name == name]


async def check_everything(store: Store) -> None:
    """Every digest and chain is right, and every run is what its own journal says, by both of its words for it."""
    verification = await store.verify()  # type: ignore[attr-defined]
    assert verification.is_clean, verification.problems
    page = await store.scan(Scope.system(), Query(kind=RUN), limit=1000)
    for record in page.records:
        events = await store.events(Scope.system(), record=record.key, limit=10_000)
        assert journal.rebuild(events) == codec.decode(record.body), f"{record.key} is not what its journal says"
        assert events[-1].version == record.version
        run = decode_run(record.body)
        assert run.status == record.status
        if run.is_ended:
            assert record.due == pytest.approx(events[-1].at, abs=60), "since then it may be removed"
        elif run.status == "running" and not record.owner:
            assert record.due is not None, "who waits for a worker has a place in line"
        else:
            assert record.due == pytest.approx(run.due, abs=1e-6), "a store may keep no more than microseconds"
        last = [facts(event) for event in events if event.name == TRANSITION][-1:]
        if last and run.is_ended:
            assert last[0]["to"] == spec_text(run.outcome)
