"""A million runs that wait for a review: what an engine on top of them costs, beside one on top of a thousand.

The store is filled once, in bulk. In each round a new process opens an engine on it, starts one more run, idles, and
signals some of the runs that wait. Waiting runs should cost nothing but rows: the million no more than the thousand.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import msgspec

from benchmarks import server
from benchmarks.contestants.waiting import Opened
from benchmarks.harness import Comparison, Series, compare, parser_of, publish, read_options

FEW = 1_000
QUICK_RUNS = 2_000
TIMEOUT_S = 4 * 3600.0
OPENED = "until the engine is open"
OTHERS = {
    "first_s": ("until a new run's first step is durable", "s"),
    "signal_s": ("one signal, until its run has durably ended", "s"),
    "idle_cpu": ("while nothing happens", "processors"),
    "grown_bytes": ("memory since before the engine was open", "bytes"),
    "peak_bytes": ("memory at most", "bytes"),
}


class Full:
    """A store at `url` in which `runs` runs wait, filled when it is made; `fill_s` is how long that took."""

    def __init__(self, url: str, runs: int) -> None:
        self._arguments = (url, str(runs))
        started = perf_counter()
        _answer("fill", *self._arguments)
        self.fill_s = perf_counter() - started
        self.seen: list[Opened] = []

    def opened_s(self) -> float:
        """Seconds until a new process has an engine open on it; what else it sees is kept."""
        answer = _answer("open", *self._arguments, str(len(self.seen)))
        self.seen.append(msgspec.json.decode(answer, type=Opened))
        return self.seen[-1].opened_s


def comparisons(stores: dict[str, Full], *, rounds: int) -> list[Comparison]:
    """Every question, answered by the same openings. The first of `stores` is the one asked about."""
    name = next(iter(stores))
    facts: dict[str, float | str] = {f"{place}: filled within, s": store.fill_s for place, store in stores.items()}
    calls = {place: store.opened_s for place, store in stores.items()}
    found = [compare(f"{name}, {OPENED}", calls, unit="s", better="less", rounds=rounds, ours=name, facts=facts)]
    for field, (question, unit) in OTHERS.items():
        series = {
            place: Series(tuple(float(getattr(opened, field)) for opened in store.seen))
            for place, store in stores.items()
        }
        found.append(Comparison(f"{name}, {question}", unit, "less", name, series))
    return found


def _answer(*arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks.contestants.waiting", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: expected exit code 0, saw {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


@contextlib.contextmanager
def sqlite_urls() -> Iterator[tuple[str, str]]:
    """Two files."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield f"sqlite:///{Path(folder)}/many.db", f"sqlite:///{Path(folder)}/few.db"


@contextlib.contextmanager
def postgres_urls(on: server.Server) -> Iterator[tuple[str, str]]:
    """Two databases."""
    with on.database() as many, on.database() as few:
        yield many, few


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__ or "", rounds=3)
    parser.add_argument("--runs", type=int, default=1_000_000, help="runs that wait (default: %(default)s)")
    parser.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite")
    seen, chosen = parser.parse_args(), read_options(parser)
    runs = QUICK_RUNS if chosen.quick else seen.runs
    with contextlib.ExitStack() as stack:
        on = stack.enter_context(server.running()) if seen.store == "postgres" else None
        many, few = stack.enter_context(sqlite_urls() if on is None else postgres_urls(on))
        stores = {f"{runs:,} waiting runs": Full(many, runs), f"{FEW:,} waiting runs": Full(few, FEW)}
        if on is not None:
            on.postgres.execute("CHECKPOINT")
        publish(
            f"waiting-{seen.store}",
            comparisons(stores, rounds=chosen.rounds),
            chosen,
            servers=[on.version] if on else [],
        )


if __name__ == "__main__":
    main()
