"""The program `holdfast`: see, decide and keep, from a terminal. Also `python -m holdfast`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from holdfast.cli import (
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
_PANELS = {
    "See": (reading, charts),
    "Decide": (deciding, schedules, breakers),
    "Work": (working,),
    "Keep the store": (keeping, backups, moving, unmerged),
    "Try it out": (simulating, soaking),
}

app = typer.Typer(
    name="holdfast",
    help="See what every run is doing, why, and who decided it; decide; keep the store.",
    epilog=_EPILOG,
    rich_markup_mode="markdown",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _panel, _modules in _PANELS.items():
    for _module in _modules:
        _known = len(app.registered_commands)
        _module.add_to(app)
        for _command in app.registered_commands[_known:]:
            _command.rich_help_panel = _panel


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
