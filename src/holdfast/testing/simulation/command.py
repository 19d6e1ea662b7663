"""The command `holdfast simulate`: any number of seeds, each a world of its own in which everything goes wrong."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from holdfast.cli.command import TRY
from holdfast.cli.rules import REFUSED, STOPPED
from holdfast.clock import SystemClock
from holdfast.testing.simulation.agreement import disagreements
from holdfast.testing.simulation.draws import Trouble
from holdfast.testing.simulation.simulate import Report, simulate

TOLD_EVERY_S = 5.0
"""How often a terminal is told how far it is."""


def add_to(app: typer.Typer) -> None:
    """Add this command to a program."""
    app.command("simulate", rich_help_panel=TRY)(simulate_seeds)


def simulate_seeds(
    *,
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="How many seeds, one after the other.")] = 100,
    seed: Annotated[int, typer.Option(metavar="S", min=0, help="The first of them.")] = 0,
    sqlite: Annotated[
        int, typer.Option(metavar="N", min=0, help="Write every Nth once more to SQLite, and compare; 0: none.")
    ] = 10,
    is_json: Annotated[bool, typer.Option("--json", help="Print JSON: one object.")] = False,
) -> None:
    """Simulate engines, users and faults from seeds, and check every promise; exit code 1 where one was broken."""
    found = _Found(seeds, seed, is_json=is_json)
    is_stopped = False
    try:
        with _without_errors_by_design():
            for number in range(seed, seed + seeds):
                found.tell_progress()
                report = simulate(number)
                found.add(number, report, _compared(report) if sqlite and number % sqlite == 0 else [])
    except KeyboardInterrupt:
        is_stopped = True
    found.conclude()
    if is_stopped:
        raise typer.Exit(STOPPED)
    if found.broken:
        raise typer.Exit(REFUSED)


@contextlib.contextmanager
def _without_errors_by_design() -> Iterator[None]:
    """Simulated engines meet damage and say so; nobody who simulates wants to read it."""
    logger = logging.getLogger("holdfast")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


class _Found:
    """What the seeds so far gave, told as it comes."""

    def __init__(self, seeds: int, seed: int, *, is_json: bool) -> None:
        self.broken: dict[int, list[str]] = {}
        self._seeds, self._seed, self._is_json = seeds, seed, is_json
        self._done, self._effects, self._seen = 0, 0, Counter[Trouble]()
        self._clock = SystemClock()
        self._told_at_s = self._clock.time_s()

    def tell_progress(self) -> None:
        """A terminal is told now and then how far it is."""
        if self._clock.time_s() - self._told_at_s < TOLD_EVERY_S or self._is_json or not sys.stderr.isatty():
            return
        self._told_at_s = self._clock.time_s()
        typer.echo(f"{self._done} of {self._seeds} seeds: {len(self.broken)} with problems", err=True)

    def add(self, number: int, report: Report, disagreed: list[str]) -> None:
        """One seed's report."""
        self._done += 1
        self._seen += report.seen
        self._effects += report.effects
        if problems := [*report.problems, *disagreed]:
            self.broken[number] = problems
            if not self._is_json:
                typer.echo(told(number, problems, report))

    def conclude(self) -> None:
        """What all of them gave."""
        counted = {trouble.value: self._seen[trouble] for trouble in Trouble}
        if self._is_json:
            head = {"seeds": self._done, "seed": self._seed, "effects": self._effects}
            typer.echo(msgspec.json.encode({**head, "seen": counted, "problems": self.broken}).decode())
            return
        words = ", ".join(f"{name} {count}" for name, count in counted.items())
        typer.echo(
            f"{self._done} seeds from {self._seed} on: {len(self.broken)} with problems; {self._effects} effects; "
            f"seen: {words}"
        )


def told(seed: int, problems: list[str], report: Report) -> str:
    """What a seed broke, and all that it drew."""
    return "\n  ".join([f"seed {seed}:", *problems, *str(report).splitlines()])


def _compared(report: Report) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="holdfast-simulate-") as folder:
        return disagreements(report, Path(folder))
