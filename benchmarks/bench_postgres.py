"""Durable steps per second on PostgreSQL: holdfast beside DBOS, LangGraph and absurd, and beside pgbench as the limit.

One server for the whole run (`fsync` and `synchronous_commit` on, the same settings for all), a new database for each
measurement, a process of its own for each contestant. A run has 10 steps with trivial async bodies; a step is committed
before the next body starts, and a second connection checks that. What each contestant is given is said in its module.

pgbench sends the statements that holdfast sent in a recorded wave: from one client, as holdfast's one writer does, from
8 at once, and, with one change in each transaction, from 50 at once.

`--with-restate` installs Restate into a temporary folder and asks it, too; it has a log of its own and no database.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator

from msgspec.structs import replace

from benchmarks import batches, server
from benchmarks.contestants.process import Measured, Size, measure_at
from benchmarks.harness import Comparison, Options, compare, parser_of, publish, read_options
from benchmarks.restate import Restate, installed
from benchmarks.server import Effort, Server

STEPS = 10
CONTESTANTS = {
    "holdfast": "holdfast_postgres",
    "DBOS": "dbos_postgres",
    "LangGraph": "langgraph_postgres",
    "absurd": "absurd_postgres",
}
WAVES = {1: 20, 50: 4, 500: 1}
"""Waves by the number of concurrent runs: enough steps for a steady figure, few enough for the slowest."""
QUICK = {5: 1}
PGBENCH_STEPS = {1: 500, 50: 20_000, 500: 40_000}
"""About how many steps pgbench does in one measurement, by the number of runs whose batches it sends."""
COST_STEPS = 500
"""At least so many steps are looked at to say what one costs: the kernel counts processor time in hundredths."""
ALONE = 1


def comparisons(on: Server, chosen: Options, restate: Restate | None) -> Iterator[Comparison]:
    """Every question that was asked for."""
    waves = QUICK if chosen.quick else WAVES
    for runs, count in waves.items():
        if chosen.only in (question := f"{runs} concurrent runs of {STEPS} steps"):
            yield beside_peers(question, on, Size(runs, STEPS, count), chosen, restate)
    for runs, count in waves.items():
        if runs != ALONE and chosen.only in (question := f"pgbench with the SQL of {runs} concurrent runs"):
            yield beside_pgbench(question, on, Size(runs, STEPS, count), chosen)


def beside_peers(question: str, on: Server, size: Size, chosen: Options, restate: Restate | None) -> Comparison:
    """Everybody at once as many runs, and what a step costs whom."""
    facts: dict[str, float | str] = {}
    enough = replace(size, waves=-(-COST_STEPS // (size.runs * size.steps)))
    for name, module in () if chosen.quick else CONTESTANTS.items():
        facts |= {f"{name}: {fact}": value for fact, value in costs(on, module, enough).items()}
    contestants = {name: _steps_per_s(on, module, size) for name, module in CONTESTANTS.items()}
    if restate is not None:
        contestants["Restate"] = functools.partial(_restate_steps_per_s, restate, size)
    return compare(question, contestants, unit="steps/s", better="more", rounds=chosen.rounds, facts=facts)


def costs(on: Server, module: str, size: Size) -> dict[str, float | str]:
    """What a step costs whom: what `size` adds to a life with the first run alone."""
    _, without = _with_effort(on, module, replace(size, waves=0))
    found, effort = _with_effort(on, module, size)
    extra = effort.since(without)
    return {
        "kept by": found.setting,
        "waits of the server for the disk, per step": round(extra.syncs / size.all_steps, 3),
        "commits, per step": round(extra.commits / size.all_steps, 3),
        "own processor time, us per step": round(found.cpu_s / size.all_steps * 1e6),
        "the server's processor time, us per step": round(extra.cpu_s / size.all_steps * 1e6),
    }


def _with_effort(on: Server, module: str, size: Size) -> tuple[Measured, Effort]:
    """What is measured, and what the server did for the whole life of the contestant's process."""
    with on.database() as url:
        before = on.effort()
        found = measure_at(url, module, size)
        return found, on.effort().since(before)


def beside_pgbench(question: str, on: Server, size: Size, chosen: Options) -> Comparison:
    """holdfast beside its own SQL without holdfast."""
    together = batches.record(on, size)
    apart = batches.record(on, Size(1, size.steps))
    total = size.all_steps if chosen.quick else PGBENCH_STEPS[size.runs]
    resend = functools.partial(_resend, on, total=total)
    return compare(
        question,
        {
            "holdfast": _steps_per_s(on, "holdfast_postgres", size),
            "pgbench, 1 client, the same batches": resend(together, clients=1),
            "pgbench, 8 clients, the same batches": resend(together, clients=8),
            "pgbench, 50 clients, one change each": resend(apart, clients=50),
        },
        unit="steps/s",
        better="more",
        rounds=chosen.rounds,
        facts={"steps in one batch of the recorded wave": together.steps_per_batch},
    )


def _resend(on: Server, recording: batches.Recording, *, clients: int, total: int) -> Callable[[], float]:
    copies = max(1, total // (recording.size.all_steps * clients))
    return lambda: batches.steps_per_s(on, recording, clients=clients, copies=copies)


def _steps_per_s(on: Server, module: str, size: Size) -> Callable[[], float]:
    return lambda: size.all_steps / _measured(on, module, size).seconds


def _restate_steps_per_s(restate: Restate, size: Size) -> float:
    return size.all_steps / restate.measured(size).seconds


def _measured(on: Server, module: str, size: Size) -> Measured:
    with on.database() as url:
        return measure_at(url, module, size)


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__ or "", rounds=3)
    parser.add_argument("--with-restate", action="store_true", help="install Restate for this run and ask it, too")
    seen, chosen = parser.parse_args(), read_options(parser)
    with server.running() as on, installed() if seen.with_restate else contextlib.nullcontext() as restate:
        if restate is None:
            print("Restate: skipped, ask for it by --with-restate", file=sys.stderr)
        publish("postgres", list(comparisons(on, chosen, restate)), chosen, servers=[on.version])


if __name__ == "__main__":
    main()
