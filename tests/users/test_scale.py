"""Loads in processes of their own: memory stays flat over rounds, and below the specification's bound under a crowd."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PEAK_BYTES_MAX = 295 * 10**6
GROWTH_BYTES_MAX = 3 * 10**6
"""More than an allocator's own unrest over a thousand rounds, far less than 1,000 agents of 50 kB."""
OBJECTS_MAX = 1000


def run(mode: str, url: str) -> dict[str, Any]:
    """What the load says."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.users.load", mode, url],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_a_thousand_rounds_of_create_run_and_clean_up_leave_memory_flat(tmp_path: Path) -> None:
    found = run("rounds", f"sqlite:///{tmp_path / 'rounds.db'}")
    assert found["rss"][-1] - found["rss"][0] < GROWTH_BYTES_MAX, found
    assert found["objects"][-1] - found["objects"][0] < OBJECTS_MAX, found


@pytest.mark.slow
def test_a_thousand_users_with_five_thousand_contexts_stay_below_295_megabytes(tmp_path: Path) -> None:
    found = run("crowd", f"sqlite:///{tmp_path / 'crowd.db'}")
    assert (found["seen"], found["finished"], found["users"], found["isolated"]) == (5000, 5000, 1000, True)
    assert found["peak"] < PEAK_BYTES_MAX, found
