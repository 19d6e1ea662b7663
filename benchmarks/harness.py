"""How every benchmark measures and reports: rounds that interleave the contestants, medians with spread, JSON.

A contestant is a function that does its own set-up, measures what counts with `perf_counter`, and returns one figure.
Rounds go A B C, B C A, ...: whatever else the machine does hits all of them alike, and ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Literal

import msgspec
from rich.console import Console
from rich.table import Table

Contestant = Callable[[], float]
Better = Literal["more", "less"]

RESULTS = Path(__file__).parent / "results"


class Series(msgspec.Struct, frozen=True):
    """The figures of one contestant, one per round, in the order in which they were taken."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle figure."""
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The first and the third quartile; least and greatest where there are fewer than four rounds."""
        if len(self.values) < 4:
            return min(self.values), max(self.values)
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return low, high


class Comparison(msgspec.Struct, frozen=True):
    """One question, asked of every contestant. `ours` names the one that the ratios are about."""

    question: str
    unit: str
    better: Better
    ours: str
    series: dict[str, Series]
    facts: dict[str, float | str] = {}

    def ratios(self, peer: str) -> Series:
        """How many times better ours is than `peer`, round by round: above 1 ours wins, whichever way is better."""
        pairs = zip(self.series[self.ours].values, self.series[peer].values, strict=True)
        return Series(tuple(ours / theirs if self.better == "more" else theirs / ours for ours, theirs in pairs))

    def best_peer(self) -> str | None:
        """The peer with the best median; None where ours runs alone."""
        peers = sorted(name for name in self.series if name != self.ours)
        pick = max if self.better == "more" else min
        return pick(peers, key=lambda name: self.series[name].median, default=None)


class Machine(msgspec.Struct, frozen=True):
    """What the figures depend on, and nothing that names whose machine it is."""

    cpus: int
    architecture: str
    system: str
    python: str
    sqlite: str
    date: str
    servers: tuple[str, ...] = ()
    """Servers that took part, with their versions."""

    def __str__(self) -> str:
        stores = ", ".join((f"SQLite {self.sqlite}", *self.servers))
        return f"{self.cpus} CPUs ({self.architecture}), {self.system}, {self.python}, {stores}, {self.date}"


class Report(msgspec.Struct, frozen=True):
    """What one benchmark found: raw figures of every round, so that nothing has to be believed."""

    benchmark: str
    machine: Machine
    command: str
    comparisons: tuple[Comparison, ...]


class Options(msgspec.Struct, frozen=True):
    """What the command line of every benchmark understands."""

    rounds: int
    as_json: bool
    save: bool
    against: Path | None
    only: str
    quick: bool


def options(description: str, argv: Sequence[str] | None = None, *, rounds: int = 5) -> Options:
    """The command line of a benchmark that needs no options of its own, read."""
    return read_options(parser_of(description, rounds=rounds), argv)


def parser_of(description: str, *, rounds: int = 5) -> argparse.ArgumentParser:
    """What reads the options of every benchmark. `--quick` asks for one round of a small size: does it run at all?"""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help="rounds per question (default: %(default)s)")
    parser.add_argument("--json", action="store_true", dest="as_json", help="print the raw report as one JSON line")
    parser.add_argument("--save", action="store_true", help="keep the raw report in benchmarks/results")
    parser.add_argument("--against", type=Path, help="a kept report to compare the medians with")
    parser.add_argument("--only", default="", help="ask only the questions that contain this text")
    parser.add_argument("--quick", action="store_true", help="one round, small sizes: to see that it runs")
    return parser


def read_options(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> Options:
    """What `parser` reads of every benchmark's options; `parser.parse_args` gives a benchmark its own."""
    seen = parser.parse_args(argv)
    if seen.rounds < 1:
        parser.error(f"--rounds: expected 1 or more, saw {seen.rounds}")
    return Options(
        rounds=1 if seen.quick else seen.rounds,
        as_json=seen.as_json,
        save=seen.save,
        against=seen.against,
        only=seen.only,
        quick=seen.quick,
    )


def machine(servers: Sequence[str] = ()) -> Machine:
    """This machine, now."""
    return Machine(
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        architecture=platform.machine(),
        system=platform.system(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        sqlite=sqlite3.sqlite_version,
        date=datetime.now(UTC).date().isoformat(),
        servers=tuple(servers),
    )


def compare(
    question: str,
    contestants: Mapping[str, Contestant],
    *,
    unit: str,
    better: Better,
    rounds: int,
    ours: str = "holdfast",
    facts: Mapping[str, float | str] | None = None,
) -> Comparison:
    """Every contestant once a round, each round beginning with another one. `facts` are told beside the figures."""
    if ours not in contestants:
        raise ValueError(f"{question}: expected a contestant {ours!r} of ours, saw {sorted(contestants)}")
    names = list(contestants)
    values: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            values[name].append(contestants[name]())
    series = {name: Series(tuple(figures)) for name, figures in values.items()}
    return Comparison(question, unit, better, ours, series, dict(facts or {}))


def seconds_per_call(work: Callable[[], object], *, at_least_s: float = 0.2) -> float:
    """Mean seconds of one call, over as many calls (a power of two) as take `at_least_s`."""
    calls = 1
    while True:
        started = perf_counter()
        for _ in range(calls):
            work()
        elapsed_s = perf_counter() - started
        if elapsed_s >= at_least_s:
            return elapsed_s / calls
        calls *= 2


def publish(
    benchmark: str, comparisons: Sequence[Comparison], chosen: Options, *, servers: Sequence[str] = ()
) -> Report:
    """Print the report in the form asked for, and keep it if asked to. `servers` go into the machine's line."""
    module = f"python -m benchmarks.{Path(sys.argv[0]).stem}"
    report = Report(benchmark, machine(servers), " ".join([module, *sys.argv[1:]]), tuple(comparisons))
    if chosen.save:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{benchmark}-{report.machine.date}.json"
        path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    if chosen.as_json:
        print(msgspec.json.encode(report).decode())
    else:
        earlier = read_report(chosen.against) if chosen.against else None
        render(report, earlier, Console())
    return report


def read_report(path: Path) -> Report:
    """A kept report."""
    return msgspec.json.decode(path.read_bytes(), type=Report)


def render(report: Report, earlier: Report | None, console: Console) -> None:
    """The report for people: medians, quartiles, ratios to ours, and who wins."""
    console.print(f"[bold]{report.benchmark}[/bold]: {report.machine}")
    before = {comparison.question: comparison for comparison in earlier.comparisons} if earlier else {}
    for comparison in report.comparisons:
        table = Table(title=f"{comparison.question} ({comparison.unit}, {comparison.better} is better)")
        for column in ("", "median", "quartiles", f"{comparison.ours} is better by", "earlier median"):
            table.add_column(column, justify="left" if not column else "right")
        for name, series in comparison.series.items():
            past = before[comparison.question].series.get(name) if comparison.question in before else None
            ratio = "" if name == comparison.ours else _times(comparison.ratios(name))
            low, high = series.spread
            quartiles = f"{_figure(low)} to {_figure(high)}"
            table.add_row(name, _figure(series.median), quartiles, ratio, _figure(past.median) if past else "")
        console.print(table)
        for fact, value in comparison.facts.items():
            console.print(f"  {fact}: {value if isinstance(value, str) else _figure(value)}")
        console.print(f"  {verdict(comparison)}")


def verdict(comparison: Comparison) -> str:
    """Who wins, in one sentence; a rival's win is said as plainly as ours."""
    best = comparison.best_peer()
    if best is None:
        return f"{comparison.ours} ran alone"
    ratio = comparison.ratios(best).median
    if ratio >= 1:
        return f"{comparison.ours} is {ratio:.2f} times better than the best peer, {best}"
    return f"{best} wins: it is {1 / ratio:.2f} times better than {comparison.ours}"


def _times(ratios: Series) -> str:
    low, high = ratios.spread
    return f"{ratios.median:.2f}x ({low:.2f} to {high:.2f})"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
