"""The faults that breakers are put to: ours stands all of them, a bad one is seen, and the docs say what was found."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import bench_breaker_faults as faults
from benchmarks.harness import RESULTS

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "resilience.md"


async def test_ours_keeps_every_promise() -> None:
    told = await faults.verdicts(["holdfast"])
    assert {promise: found["holdfast"] for promise, found in told.items()} == dict.fromkeys(faults.FAULTS, faults.YES)


class Naive:
    """Counts failures in a row, whoever they are of, and lets everybody try when its wait is over."""

    def __init__(self) -> None:
        self.failures = 0
        self.open_until = 0.0

    async def call(self, work: Callable[[], Awaitable[Any]]) -> Any:
        loop = asyncio.get_running_loop()
        if loop.time() < self.open_until:
            raise RuntimeError("open")
        try:
            answer = await work()
        except BaseException:
            self.failures += 1
            if self.failures >= faults.THRESHOLD:
                self.open_until = loop.time() + faults.WAIT_S
            raise
        self.failures, self.open_until = 0, 0.0
        return answer


async def test_a_naive_breaker_is_caught_at_each_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    naive = faults.Contestant(lambda: Naive().call)
    monkeypatch.setattr(faults, "CONTESTANTS", {"naive": naive})
    told = await faults.verdicts(["naive"])
    assert [found["naive"] for found in told.values()] == [
        "no", "50 pass", "opens", "refuses", "closes", "opens", "others pass",
    ]  # fmt: skip


def test_the_page_shows_the_kept_verdicts() -> None:
    kept = json.loads(max(RESULTS.glob("breaker-faults-*.json")).read_text())
    names = list(next(iter(kept["verdicts"].values())))
    page = PAGE.read_text()
    assert faults.table(kept["verdicts"], names) in page
    for name, version in kept["peers"].items():
        assert f"{name} {version}" in page.replace("\n", " ")
    assert kept["date"] in page
