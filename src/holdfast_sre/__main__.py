"""`holdfast-sre`: the bot's command line."""

from __future__ import annotations

import typer

from holdfast_sre.cli import diagnosis as commands_diagnosis
from holdfast_sre.cli import review as commands_review
from holdfast_sre.cli import run as commands_run

app = typer.Typer(
    name="holdfast-sre",
    help="An SRE bot: ticket in, cause found, repair as a pull request, approval, deployment, proof, ticket closed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
commands_run.register(app)
commands_review.register(app)
commands_diagnosis.register(app)


def main() -> None:
    """The entry point."""
    app()


if __name__ == "__main__":
    main()
