"""`holdfast worker` and `holdfast workers`: what they say, and what they refuse."""

from __future__ import annotations

import asyncio
from pathlib import Path

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


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("./incidents.py:wf", "as an import names it, such as \"incidents:workflow\", saw './incidents.py'"),
        ("starts_itself:wf", "starts_itself.py, line 2: RuntimeError: asyncio.run() cannot be called"),
        ("mistyped:wf", "mistyped.py, line 2: SyntaxError"),
        ("divides:wf", "divides.py, line 1: ZeroDivisionError"),
        ("asks_wrongly:wf", "asks_wrongly.py, line 2: AttributeError"),
    ],
)
def test_code_that_cannot_be_imported_is_one_line(call: Call, tmp_path: Path, place: str, expected: str) -> None:
    starting = "def main():\n    raise RuntimeError('asyncio.run() cannot be called')\n\nmain()\n"
    (tmp_path / "starts_itself.py").write_text(starting)
    (tmp_path / "mistyped.py").write_text("a = 1\nb = = 2\n")
    (tmp_path / "divides.py").write_text("1 / 0\n")
    (tmp_path / "asks_wrongly.py").write_text("import os\nos.nothing_of_this_name\n")
    answer = call("worker", "--app", place)
    assert answer.code == rules.USAGE
    assert expected in " ".join(answer.err.split())
    assert ("__name__" in answer.err) == (place == "starts_itself:wf")


@pytest.mark.parametrize("queue", ["other", f"{shop.name}@9"])
def test_a_version_that_the_code_does_not_have_is_refused(call: Call, queue: str) -> None:
    answer = call("worker", *CODE, "--queue", queue)
    assert answer.code == rules.USAGE
    assert f"--queue {queue}: expected one of {shop.name}@{shop.version}" in " ".join(answer.err.split())
    assert "workflow.migrate" in answer.err


def test_a_grace_that_is_no_duration_is_refused(call: Call) -> None:
    assert call("worker", *CODE, "--grace", "soon").code == rules.USAGE


async def test_workers_are_listed_with_what_they_serve(store: str, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Engine(store, shop, runs_max=7) as engine:
        answer = await asyncio.to_thread(call, "workers", "--json")
        page = await asyncio.to_thread(call, "workers")
        (line,) = answer.documents
        assert line["id"] == engine.inside.ownership.process_id
        assert line["queues"] == [f"{shop.name}@{shop.version}"]
        assert (line["runs"], line["runs_max"], line["is_alive"], line["is_draining"]) == (0, 7, True, False)
        assert "working" in page.out
        assert line["id"] in page.out
        monkeypatch.setenv("COLUMNS", "80")
        narrow = await asyncio.to_thread(call, "workers")
        assert line["id"][:13] in narrow.out
        assert line["id"] not in narrow.out
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
