"""DBOS Transact: workflows that died in their second step are recovered at launch, their first step remembered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from dbos import DBOS

from benchmarks.contestants.recovery import Counts, Look

DONE = "SELECT count(*) FROM workflow_status WHERE status = 'SUCCESS'"


def file(folder: Path) -> Path:
    """Where the workflows are kept."""
    return folder / "dbos.sqlite"


def _workflow(folder: Path, counts: Counts) -> Callable[[int], Awaitable[int]]:
    logging.disable(logging.WARNING)
    DBOS(config={"name": "count", "system_database_url": f"sqlite:///{file(folder)}"})

    @DBOS.step()
    async def first() -> None:
        await counts.first()

    @DBOS.step()
    async def second() -> None:
        await counts.second()

    @DBOS.step()
    async def third() -> None:
        await counts.third()

    @DBOS.workflow()
    async def count(number: int) -> int:
        await first()
        await second()
        await third()
        return number

    return count


async def prepare(folder: Path, runs: int, counts: Counts) -> None:
    """Start `runs`, each up to its second step, which does not end; then be killed."""
    count = _workflow(folder, counts)
    DBOS.launch()
    started = [asyncio.ensure_future(count(number)) for number in range(runs)]
    await counts.all_hang()
    assert len(started) == runs


async def recover(folder: Path, runs: int, counts: Counts) -> None:
    """Launch, which recovers by itself, until all have ended."""
    _workflow(folder, counts)
    DBOS.launch()
    await Look(file(folder), DONE).until(runs)
    DBOS.destroy()
