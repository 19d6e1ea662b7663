"""One step after the other, in one run: holdfast beside a bare SQLite commit and its peers, in microseconds a step.

The bare commit inserts one row by a text key, on WAL with `synchronous=FULL`: the floor on this disk. The same through
a thread is the floor for an event loop that must not block. The goal is at most two bare commits.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from benchmarks.contestants.process import Size, measure
from benchmarks.harness import compare, options, publish

STEPS = 300
CONTESTANTS = {
    "holdfast": "holdfast_steps",
    "bare commit": "bare_commit",
    "bare commit by a thread": "threaded_commit",
    "DBOS": "dbos_steps",
    "DBOS on WAL": "dbos_wal_steps",
    "LangGraph": "langgraph_steps",
}


def main() -> None:
    """Measure and print."""
    chosen = options(__doc__ or "", rounds=7)
    size = Size(1, 20 if chosen.quick else STEPS)
    found = compare(
        f"one run of {size.steps} steps",
        {name: _us_per_step(module, size) for name, module in CONTESTANTS.items()},
        unit="us per step",
        better="less",
        rounds=chosen.rounds,
    )
    bare = 1 / found.ratios("bare commit").median
    facts: dict[str, float | str] = {"a step of holdfast costs this many bare commits (goal: at most 2)": bare}
    publish("sequential", [replace(found, facts=facts)], chosen)


def _us_per_step(contestant: str, size: Size) -> Callable[[], float]:
    return lambda: measure(contestant, size).seconds / size.all_steps * 1e6


if __name__ == "__main__":
    main()
