"""`holdfast worker` and `holdfast workers`: what they say, and what they refuse."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import Engine, Workflow
from holdfast.cli import rules
from holdfast.cli.commands.working import _clock_note, _unserved
from holdfast.store.open import open_store
from tests.cli.conftest import CODE, Call
from tests.cli.shop import workflow as shop


def test_a_worker_needs_code(call: Call) -> None:
    answer = call("worker")
    assert answer.code == rules.USAGE
    assert "name their code: --app" in answer.err


@pytest.mark.parametrize("queue", ["other", f"{shop.name}@9"])
def test_a_version_that_the_code_does_not_have_is_refused(call: Call, queue: str) -> None:
    answer = call("worker", *CODE, "--queue", queue)
    assert answer.code == rules.USAGE
    assert f"--queue {queue}: expected one of {shop.name}@{shop.version}" in " ".join(answer.err.split())
    assert "workflow.migrate" in answer.err


def test_a_grace_that_is_no_duration_is_refused(call: Call) -> None:
    assert call("worker", *CODE, "--grace", "soon").code == rules.USAGE


async def test_workers_are_listed_with_what_they_serve(store: str, call: Call) -> None:
    async with Engine(store, shop, runs_max=7) as engine:
        answer = await asyncio.to_thread(call, "workers", "--json")
        page = await asyncio.to_thread(call, "workers")
        (line,) = answer.documents
        assert line["id"] == engine.inside.ownership.process_id
        assert line["queues"] == [f"{shop.name}@{shop.version}"]
        assert (line["runs"], line["runs_max"], line["is_alive"], line["is_draining"]) == (0, 7, True, False)
        assert "working" in page.out
    assert "no process works on this store" in (await asyncio.to_thread(call, "workers")).out


async def test_live_runs_of_a_version_that_nobody_serves_are_named(runs: str) -> None:
    newer = Workflow("newer", data=dict)
    newer.wait("review", start=True, on={"approve": "done"})
    newer.final("done")
    store = open_store(runs)
    async with Engine(store, newer) as engine:
        (note,) = await _unserved(engine.store, engine.workflows)
        assert f"no process knows {shop.name}@{shop.version}, and it has live runs" in note
        async with Engine(runs, shop):
            assert await _unserved(engine.store, engine.workflows) == []
    await store.close()


def test_a_clock_far_off_is_said() -> None:
    assert _clock_note(0.5) == _clock_note(-0.5) == []
    assert "12.0 s ahead of the store's" in _clock_note(12.0)[0]
    assert "12.0 s behind the store's" in _clock_note(-12.0)[0]
