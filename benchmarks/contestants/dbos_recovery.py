"""DBOS Transact: workflows that died in their second step are recovered at launch, their first step remembered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from dbos import DBOS

from benchmarks.contestants.recovery import Counts, until_ended
from benchmarks.contestants.witness import FileWitness, Witness


def _file(place: str) -> Path:
    return Path(place) / "dbos.sqlite"


def _workflow(url: str, counts: Counts) -> Callable[[int], Awaitable[int]]:
    logging.disable(logging.WARNING)
    DBOS(config={"name": "count", "system_database_url": url})

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


async def prepare(place: str, runs: int, counts: Counts) -> None:
    """In a file of the folder `place`."""
    await prepare_in(f"sqlite:///{_file(place)}", runs, counts)


async def recover(place: str, runs: int, counts: Counts) -> None:
    """From the file."""
    witness = FileWitness(_file(place), "SELECT count(*) FROM workflow_status WHERE status = 'SUCCESS'")
    await recover_in(f"sqlite:///{_file(place)}", runs, counts, witness)


async def prepare_in(url: str, runs: int, counts: Counts) -> None:
    """Start `runs`, each up to its second step, which does not end; then be killed."""
    count = _workflow(url, counts)
    DBOS.launch()
    started = [asyncio.ensure_future(count(number)) for number in range(runs)]
    await counts.all_hang()
    assert len(started) == runs


async def recover_in(url: str, runs: int, counts: Counts, witness: Witness) -> None:
    """Launch, which recovers by itself, until all have ended."""
    _workflow(url, counts)
    DBOS.launch()
    await until_ended(witness, runs)
    DBOS.destroy()
