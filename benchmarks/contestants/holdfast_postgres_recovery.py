"""holdfast on PostgreSQL: as on SQLite."""

from __future__ import annotations

from benchmarks.contestants.holdfast_recovery import prepare_in as prepare
from benchmarks.contestants.holdfast_recovery import recover_in
from benchmarks.contestants.recovery import Counts
from benchmarks.contestants.server_witness import ServerWitness

__all__ = ["prepare", "recover"]
DONE = "SELECT count(*) FROM holdfast.records WHERE kind = 'run' AND status = 'done'"


async def recover(place: str, runs: int, counts: Counts) -> None:
    """From the database at the URL `place`."""
    await recover_in(place, runs, counts, ServerWitness(place, DONE))
