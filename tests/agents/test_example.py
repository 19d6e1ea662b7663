"""The example says what a person wants to read, and the same each time: its numbers are those of its seed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from examples import spend
from tests.agents.bodies import LIMIT_S

ROOT = Path(__file__).resolve().parents[2]
PLAN = """\
service           now     then         a day     saves     p95
support chat      grand   swift       2.40 $   57.66 $   3.1 s
summaries         solid   swift       1.44 $    5.77 $   5.3 s
search rewriting  solid   tiny        0.04 $    1.06 $   0.5 s
code review       grand   grand      43.39 $    0.00 $  40.3 s
64.49 $ of 111.77 $ a day are saved: 58 %"""


def test_it_prints_a_plan_that_can_be_followed() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "examples.spend"],
        cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=True,
    )  # fmt: skip
    assert done.stdout.endswith(f"{PLAN}\n")
    assert "optimization            progress  support chat: swift" in done.stdout


def test_it_gives_latency_where_that_is_asked_for(tmp_path: Path) -> None:
    """And keeps what it did in a file: the state is durable there."""
    said = asyncio.run(spend.main(f"sqlite:///{tmp_path / 'spend.db'}", "Our users wait too long"))
    assert "support chat      grand   swift" in said
    assert "code review       grand   grand" in said, "nothing else is good enough"
    assert (tmp_path / "spend.db").exists()
