"""DBOS Transact on PostgreSQL: as on SQLite."""

from __future__ import annotations

from benchmarks.contestants import dbos_postgres, dbos_recovery
from benchmarks.contestants.recovery import Counts
from benchmarks.contestants.server_witness import ServerWitness

DONE = "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'"


async def prepare(place: str, runs: int, counts: Counts) -> None:
    """In the database at the URL `place`."""
    await dbos_recovery.prepare_in(dbos_postgres.url_of(place), runs, counts)


async def recover(place: str, runs: int, counts: Counts) -> None:
    """From the database."""
    await dbos_recovery.recover_in(dbos_postgres.url_of(place), runs, counts, ServerWitness(place, DONE))
