"""DBOS Transact on PostgreSQL, its home: psycopg, its pool of 20 connections, async workflows on the caller's loop."""

from __future__ import annotations

from benchmarks.contestants import dbos_steps
from benchmarks.contestants.process import Measured, Size
from benchmarks.contestants.server_witness import ServerWitness


async def run(place: str, size: Size) -> Measured:
    """As on SQLite, with everything at its defaults."""
    url = place.replace("postgresql://", "postgresql+psycopg://", 1)
    return await dbos_steps.measured_at(url, size, ServerWitness(place, "SELECT count(*) FROM dbos.operation_outputs"))
