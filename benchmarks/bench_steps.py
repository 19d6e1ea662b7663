"""Durable steps per second on SQLite: holdfast beside DBOS and LangGraph, at 1, 50 and 500 concurrent runs.

A run has 10 steps with trivial async bodies; a step is durable, synced to the disk, before the next body starts, and a
second connection checks that. Every contestant runs in a process of its own. DBOS appears twice: as it comes, and on a
file switched to WAL, which it does not do itself. The facts count the waits for the disk of each step, by strace.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.contestants.process import Size, measure, syncs_per_step
from benchmarks.harness import Comparison, Options, compare, options, publish

STEPS = 10
CONTESTANTS = {
    "holdfast": "holdfast_steps",
    "DBOS": "dbos_steps",
    "DBOS on WAL": "dbos_wal_steps",
    "LangGraph": "langgraph_steps",
}
WAVES = {1: 20, 50: 4, 500: 1}
"""Waves by the number of concurrent runs: enough steps for a steady figure, few enough for the slowest."""


def comparison(runs: int, chosen: Options) -> Comparison:
    """Everybody at `runs` concurrent runs."""
    size = Size(runs, STEPS, waves=1 if chosen.quick else WAVES[runs])
    facts: dict[str, float | str] = {
        "holdfast, a state for each step (steps/s)": _steps_per_s("holdfast_states", size)(),
    }
    for name, module in CONTESTANTS.items():
        facts[f"{name}: file"] = measure(module, Size(1, STEPS)).setting
        if (count := syncs_per_step(module, Size(runs, STEPS))) is not None:
            facts[f"{name}: syncs per step"] = round(count, 3)
    return compare(
        f"{runs} concurrent runs of {STEPS} steps",
        {name: _steps_per_s(module, size) for name, module in CONTESTANTS.items()},
        unit="steps/s",
        better="more",
        rounds=chosen.rounds,
        facts=facts,
    )


def _steps_per_s(contestant: str, size: Size) -> Callable[[], float]:
    return lambda: size.all_steps / measure(contestant, size).seconds


def main() -> None:
    """Measure and print."""
    chosen = options(__doc__ or "", rounds=5)
    asked = [runs for runs in ((1, 5) if chosen.quick else WAVES) if chosen.only in f"{runs} concurrent runs"]
    publish("steps", [comparison(runs, chosen) for runs in asked], chosen)


if __name__ == "__main__":
    main()
