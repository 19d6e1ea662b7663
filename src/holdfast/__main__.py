"""The program `holdfast`: see, decide and keep, from a terminal. Also `python -m holdfast`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from holdfast.cli.commands import (
    backups,
    breakers,
    charts,
    deciding,
    keeping,
    moving,
    reading,
    schedules,
    soaking,
    unmerged,
    working,
)
from holdfast.cli.rules import EXIT_CODES
from holdfast.observe import set_up_logs
from holdfast.testing.simulation import command as simulating

_EPILOG = "\n".join(["Exit codes:", "", *(f"- **{code}** {words}" for code, words in EXIT_CODES.items())])

app = typer.Typer(
    name="holdfast",
    help="See what every run is doing, why, and who decided it; decide; keep the store.",
    epilog=_EPILOG,
    rich_markup_mode="markdown",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
reading.add_to(app)
deciding.add_to(app)
schedules.add_to(app)
working.add_to(app)
breakers.add_to(app)
unmerged.add_to(app)
keeping.add_to(app)
backups.add_to(app)
moving.add_to(app)
charts.add_to(app)
simulating.add_to(app)
soaking.add_to(app)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"holdfast {version('holdfast')}")
        raise typer.Exit


@app.callback()
def _program(
    is_asked: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    set_up_logs(level="error")


def main() -> None:
    """Run the program."""
    app()


if __name__ == "__main__":
    main()
