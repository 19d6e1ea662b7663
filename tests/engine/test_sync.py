"""The sync facade: the same runs from a program without a loop."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from holdfast import Engine, InvalidInput, NotFound, RunContext, SyncEngine, SyncRun, SystemClock, Unavailable, Workflow


def greeting() -> Workflow:
    workflow = Workflow("greet")

    @workflow.state("hello", start=True, to="asked")
    async def hello(ctx: RunContext) -> None:
        ctx.data["text"] = await ctx.step("shout", str.upper, ctx.input)
        ctx.data["thread"] = threading.current_thread().name

    workflow.wait("asked", on={"answer": "end"})
    workflow.final("end")
    return workflow


def test_a_run_is_driven_from_sync_code(tmp_path: Path) -> None:
    with Engine(f"sqlite:///{tmp_path / 'runs.db'}", greeting()).sync as engine:
        assert isinstance(engine, SyncEngine)
        run = engine.start("greet", "ahoy", id="R-1", user="ana")
        assert isinstance(run, SyncRun)
        run.reach("asked", timeout_s=10)
        assert run.data["text"] == "AHOY"
        assert run.data["thread"] == "holdfast-sync"
        assert (run.status, run.state) == ("waiting", "asked")
        assert engine.get("R-1", user="ana").id == run.id
        with pytest.raises(NotFound):
            engine.get("R-1", user="bob")
        assert run.send("answer", by="ana").status == "done"
        assert run.result(timeout_s=10)["text"] == "AHOY"
        assert [row.name for row in run.history()] == ["transition"] * 3
    with pytest.raises(Unavailable, match="not open"):
        engine.get("R-1", user="ana")


def test_cancel_from_sync_code() -> None:
    with Engine("memory:", greeting()).sync as engine:
        run = engine.start("greet", "ahoy").reach("asked", timeout_s=10)
        assert run.cancel(by="ops", reason="enough").status == "cancelled"
        assert run.refresh().state == "cancelled"


def test_a_failing_start_leaves_no_thread() -> None:
    before = threading.active_count()
    with (
        pytest.raises(InvalidInput, match="create it first"),
        Engine("sqlite:////proc/nowhere/runs.db", greeting()).sync,
    ):
        pass
    assert threading.active_count() == before


def test_the_system_clock_tells_wall_time() -> None:
    assert SystemClock().time_s() > 1_700_000_000
