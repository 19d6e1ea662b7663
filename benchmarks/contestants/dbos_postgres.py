"""DBOS Transact on PostgreSQL, its home: psycopg, its pool of 20 connections, async workflows on the caller's loop."""

from __future__ import annotations

from benchmarks.contestants import dbos_steps
from benchmarks.contestants.process import Measured, Size
from benchmarks.contestants.server_witness import ServerWitness


def url_of(place: str) -> str:
    """`place` as SQLAlchemy names it, with its driver."""
    return place.replace("postgresql://", "postgresql+psycopg://", 1)


async def run(place: str, size: Size) -> Measured:
    """As on SQLite, with everything at its defaults."""
    witness = ServerWitness(place, "SELECT count(*) FROM dbos.operation_outputs")
    return await dbos_steps.measured_at(url_of(place), size, witness)
