"""The commands by which a person judges a repair: `approve`, `request-changes`, `reject`."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from holdfast import Engine, InvalidInput, NotFound, Rejected, RunHandle
from holdfast_sre.cli.terminal import command_name, console_on, run
from holdfast_sre.cli.workspace import existing_workspace, open_world
from holdfast_sre.flow.bot import USER, workflow_for

Folder = Annotated[Path, typer.Argument(help="A workspace: the folder that `demo` or `run` named.")]
TicketName = Annotated[str | None, typer.Option("--ticket", help="Which ticket, where the workspace has several.")]
By = Annotated[str | None, typer.Option("--by", help="Who decides; the login name unless given.")]
Words = Annotated[str, typer.Option("--text", help="What to tell whoever reads the decision.")]
About = Annotated[
    str | None,
    typer.Option("--diff", help="Hash of the diff that was judged (its beginning will do); the current one's."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("approve", rich_help_panel="Judge its repair")(approve_command)
    app.command("request-changes", rich_help_panel="Judge its repair")(request_changes_command)
    app.command("reject", rich_help_panel="Judge its repair")(reject_command)


def approve_command(
    workspace: Folder, ticket: TicketName = None, by: By = None, text: Words = "", about: About = None
) -> None:
    """Approve the repair that waits for review, for exactly the diff that it shows."""
    _decide(workspace, ticket, "approve", by, text, about)


def request_changes_command(
    workspace: Folder,
    ticket: TicketName = None,
    by: By = None,
    text: Words = "",
    about: About = None,
    values: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Another value for a place of the repair; may be repeated."),
    ] = None,
) -> None:
    """Send the repair back; the bot updates the same pull request, with the values that were asked for."""
    wished = dict(_pair(value) for value in values or ())
    _decide(workspace, ticket, "request_changes", by, {"text": text, "values": wished} if wished else text, about)


def reject_command(
    workspace: Folder, ticket: TicketName = None, by: By = None, text: Words = "", about: About = None
) -> None:
    """Reject the repair; the ticket goes back to people."""
    _decide(workspace, ticket, "reject", by, text, about)


def login_name() -> str:
    """Who runs this program."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number without a name
        return "unknown"


def _pair(text: str) -> tuple[str, str]:
    path, sign, value = text.partition("=")
    if not path or not sign:
        raise typer.BadParameter(f"expected PATH=VALUE, saw {text!r}", param_hint="--set")
    return path, value


def _decide(folder: Path, ticket: str | None, verdict: str, by: str | None, data: Any, about: str | None) -> None:
    async def work() -> RunHandle:
        place = await existing_workspace(folder, ticket=ticket)
        workflow = workflow_for(await open_world(folder))
        async with Engine(place.store_url, workflow, works=False) as engine:
            try:
                run = await engine.get(place.ticket_id, user=USER)
            except NotFound as error:
                raise Rejected(
                    f"{place.ticket_id}: nothing to judge yet, the bot has not begun; `holdfast-sre run {folder}`"
                ) from error
            now = run.data.diff_hash
            if about is not None and not (about and now.startswith(about)):
                raise InvalidInput(
                    f"{verdict}: expected the hash of the current diff, {now[:12] or 'of which there is none'}, "
                    f"saw {about!r}; look again"
                )
            return await run.send(verdict, by=by or login_name(), data=data)

    decided = run(work())
    console = console_on()
    console.print(Text(f"{decided.ticket_id}: {decided.state}"))
    if not decided.run.is_ended:
        console.print(Text(f"The bot goes on as soon as it runs: {command_name()} run {folder}"), soft_wrap=True)
