"""The check for leaked tasks finds one, and lets go what ends by itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

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
