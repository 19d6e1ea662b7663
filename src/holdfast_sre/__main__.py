"""`holdfast-sre`: the bot's command line."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from holdfast_sre.cli import diagnosis as commands_diagnosis
from holdfast_sre.cli import review as commands_review
from holdfast_sre.cli import run as commands_run

_EPILOG = """Exit codes:

- **0** done; of an incident: the ticket was closed
- **1** people have to go on, or a rule says no
- **2** the command line, or what it names, cannot be used
- **3** not now: it waits for a decision, or something is away; the same call may do more later
- **130** stopped by Ctrl-C
"""

app = typer.Typer(
    name="holdfast-sre",
    help="An SRE bot: ticket in, cause found, repair as a pull request, approval, deployment, proof, ticket closed.",
    epilog=_EPILOG,
    rich_markup_mode="markdown",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
commands_run.register(app)
commands_review.register(app)
commands_diagnosis.register(app)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"holdfast-sre {version('holdfast')}")
        raise typer.Exit


@app.callback()
def _program(
    is_asked: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


def main() -> None:
    """The entry point."""
    app()


if __name__ == "__main__":
    main()
