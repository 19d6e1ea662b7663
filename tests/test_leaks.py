"""The check for leaked tasks finds one, and lets go what ends by itself; nothing stays behind of a run that ended."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from holdfast import Engine, RunContext, Workflow

LEAKY = """
import asyncio

async def test_leaves_a_task_behind():
    kept.append(asyncio.create_task(asyncio.Event().wait(), name="forgotten"))

async def test_ends_its_task():
    task = asyncio.create_task(asyncio.Event().wait())
    task.cancel()

def test_has_no_loop():
    pass

kept = []
"""


def test_a_task_left_behind_fails_its_test(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[1]
    (tmp_path / "conftest.py").write_text((root / "tests" / "conftest.py").read_text("utf-8"), "utf-8")
    (tmp_path / "test_leaky.py").write_text(LEAKY, "utf-8")
    config = ["-c", str(root / "pyproject.toml"), "--rootdir", str(tmp_path), "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-q", *config, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "3 passed, 1 error" in done.stdout, done.stdout
    assert "1 tasks outlived the test: ['forgotten: " in done.stdout


async def test_a_task_that_ends_in_time_does_not() -> None:
    kept = asyncio.create_task(asyncio.sleep(0))
    assert not kept.done()


ROUNDS, RUNS = 3, 100
BLOCKS_A_RUN_MAX = 5
"""Whoever keeps what is known of a run, as its handle does, keeps more of them."""


async def blocks_a_run(path: Path, keep: Callable[[object], None]) -> float:
    """Blocks of memory that stay behind of a run that ended, once all is warm. `keep` gets the handle of each run."""
    workflow = Workflow("work", data=dict)

    @workflow.state("alone", start=True, to="beside", lock=lambda data: ("repository", data["repo"]))
    async def alone(ctx: RunContext) -> None:
        ctx.data["token"] = ctx.token

    @workflow.state("beside", to="end")
    async def beside(ctx: RunContext) -> None:
        async with ctx.acquire_resource_lock("repository", ctx.data["repo"]):
            ctx.data["token"] = await ctx.step("act", acted)

    workflow.final("end")
    counts: list[int] = []
    async with Engine(f"sqlite:///{path / 'runs.db'}", workflow) as engine:
        for round_ in range(ROUNDS):
            for number in range(RUNS):
                run = await engine.start("work", data={"repo": f"r{number % 5}"}, id=f"{round_}-{number}", user="ana")
                await run.result(timeout_s=30)
                keep(run)
            del run
            gc.collect()
            counts.append(sys.getallocatedblocks())
    return (counts[-1] - counts[1]) / RUNS


async def acted() -> int:
    return 1


async def test_nothing_stays_behind_of_a_run_that_has_ended(tmp_path: Path) -> None:
    assert await blocks_a_run(tmp_path, lambda found: None) < BLOCKS_A_RUN_MAX


async def test_what_stays_behind_of_each_run_is_found(tmp_path: Path) -> None:
    kept: list[object] = []
    assert await blocks_a_run(tmp_path, kept.append) >= BLOCKS_A_RUN_MAX
