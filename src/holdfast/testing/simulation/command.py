"""The command `holdfast simulate`: any number of seeds, each a world of its own in which everything goes wrong."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from holdfast.cli.command import TRY
from holdfast.cli.rules import REFUSED
from holdfast.testing.simulation.agreement import disagreements
from holdfast.testing.simulation.draws import Trouble
from holdfast.testing.simulation.simulate import Report, simulate


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
    seen, effects, broken = Counter[Trouble](), 0, dict[int, list[str]]()
    for number in range(seed, seed + seeds):
        report = simulate(number)
        problems = [*report.problems, *(_compared(report) if sqlite and number % sqlite == 0 else ())]
        seen += report.seen
        effects += report.effects
        if problems:
            broken[number] = problems
            if not is_json:
                typer.echo(told(number, problems, report))
    counted = {trouble.value: seen[trouble] for trouble in Trouble}
    if is_json:
        document = {"seeds": seeds, "seed": seed, "effects": effects, "seen": counted, "problems": broken}
        typer.echo(msgspec.json.encode(document).decode())
    else:
        words = ", ".join(f"{name} {count}" for name, count in counted.items())
        typer.echo(f"{seeds} seeds from {seed} on: {len(broken)} with problems; {effects} effects; seen: {words}")
    if broken:
        raise typer.Exit(REFUSED)


def told(seed: int, problems: list[str], report: Report) -> str:
    """What a seed broke, and all that it drew."""
    return "\n  ".join([f"seed {seed}:", *problems, *str(report).splitlines()])


def _compared(report: Report) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="holdfast-simulate-") as folder:
        return disagreements(report, Path(folder))
