"""The commands that run the bot: `demo`, `run`, `serve`, and a person's verdicts."""

from __future__ import annotations

import asyncio
import getpass
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.prompt import Prompt

from holdfast import (
    Engine,
    HoldfastError,
    InvalidInput,
    NotFound,
    RunContext,
    RunHandle,
    SystemClock,
    Unavailable,
    set_up_logs,
    to_mermaid,
    to_svg,
)
from holdfast_sre.bot import USER, serve_workspace, workflow_for
from holdfast_sre.files import in_thread, replace_text
from holdfast_sre.incident_folders import find_cases
from holdfast_sre.manifest_files import load_folder
from holdfast_sre.recording import TICKETS_FOLDER, is_recording
from holdfast_sre.sre_chart import WORKING, sre_workflow
from holdfast_sre.ticket import TicketFolder
from holdfast_sre.watch import Answer, Watch
from holdfast_sre.workspace import Workspace, demo_workspace, incident_workspace, open_world

T = TypeVar("T")

EXIT_ESCALATED = 1
EXIT_BAD_INPUT = 2
EXIT_UNAVAILABLE = 3
KILL_IN_THE_MIDDLE = "before-memo:1:kill"
"""Dies after a step's effect (the commit in git) and before its result is stored: the worst moment there is."""

VERDICTS = {"a": "approve", "c": "request_changes", "r": "reject"}

Yes = Annotated[bool, typer.Option("--yes", help="Approve without asking, in the name of whoever runs this.")]
Place = Annotated[
    Path | None, typer.Option("--workspace", help="Folder to work in; new ones are made under the temporary folder.")
]
Folder = Annotated[Path, typer.Argument(help="A workspace: the folder that `demo` or `run` named.")]
By = Annotated[str | None, typer.Option("--by", help="Who decides; the login name unless said otherwise.")]
Words = Annotated[str, typer.Option("--text", help="What to tell whoever reads the decision.")]
About = Annotated[
    str | None,
    typer.Option("--diff", help="Hash of the diff that was judged (its beginning will do); the current one."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("demo")(demo_command)
    app.command("run")(run_command)
    app.command("serve")(serve_command)
    app.command("approve")(approve_command)
    app.command("request-changes")(request_changes_command)
    app.command("reject")(reject_command)
    app.command("chart")(chart_command)


def demo_command(yes: Yes = False, workspace: Place = None) -> None:
    """An incident from ticket to closed ticket, with a kill -9 of the bot on the way.

    Makes a repository of manifests with a fault in it, lets the bot find, mend, deploy and prove, kills its worker
    between an effect and its record, asks for approval, and writes a report.
    """
    console = Console()

    async def work() -> RunHandle:
        folder = workspace or Path(tempfile.mkdtemp(prefix="holdfast-demo-"))
        place = await demo_workspace(folder, now_s=SystemClock().time_s())
        _introduce(console, place)
        return await Watch(place, console, _answer(yes), faults=KILL_IN_THE_MIDDLE).follow()

    _finish(console, _run(work()))


def run_command(
    path: Annotated[Path, typer.Argument(help="An incident's folder, or a workspace to go on with.")],
    yes: Yes = False,
    workspace: Place = None,
    baseline: Annotated[
        Path | None, typer.Option("--baseline", help="Folder with the last known good manifests.")
    ] = None,
) -> None:
    """The whole workflow on one incident: diagnosis, repair, review, deployment, proof."""
    console = Console()

    async def work() -> RunHandle:
        if is_recording(path):
            place = await _existing(path)
        else:
            case = find_cases([path])[0]
            folder = workspace or Path(tempfile.mkdtemp(prefix="holdfast-run-"))
            good = load_folder(baseline) if baseline is not None else {}
            place = await incident_workspace(
                folder, case.folder, case=case.name, baseline=good, now_s=SystemClock().time_s()
            )
        _introduce(console, place)
        return await Watch(place, console, _answer(yes)).follow()

    _finish(console, _run(work()))


def serve_command(
    workspace: Folder,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="End once no run is under way.")] = False,
) -> None:
    """Work on a workspace's tickets and reviews until stopped. Killed at any moment, it goes on where it was."""
    set_up_logs(level="info")

    async def work() -> None:
        place = await _existing(workspace)
        await serve_workspace(place.store_url, await open_world(workspace), until_idle=until_idle)

    try:
        _run(work())
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def approve_command(workspace: Folder, by: By = None, text: Words = "", about: About = None) -> None:
    """Approve the repair that waits for review, for exactly the diff that it shows."""
    _decide(workspace, "approve", by, text, about)


def request_changes_command(workspace: Folder, by: By = None, text: Words = "", about: About = None) -> None:
    """Send the repair back; the bot updates the same pull request."""
    _decide(workspace, "request_changes", by, text, about)


def reject_command(workspace: Folder, by: By = None, text: Words = "", about: About = None) -> None:
    """Reject the repair; the ticket goes back to people."""
    _decide(workspace, "reject", by, text, about)


def chart_command(
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print Mermaid (the default).")] = False,
    svg: Annotated[Path | None, typer.Option("--svg", help="Write a picture to this file.")] = None,
) -> None:
    """The workflow's chart: every state and every way between them."""
    chart = sre_workflow({state.name: _nobody for state in WORKING}).build().chart
    if svg is not None:
        replace_text(svg, to_svg(chart))
        Console(stderr=True).print(f"written: {svg}")
    if mermaid or svg is None:
        sys.stdout.write(to_mermaid(chart) + "\n")


async def _nobody(ctx: RunContext) -> None:
    """Stands in for a handler where only the chart is wanted."""


def _decide(folder: Path, verdict: str, by: str | None, text: str, about: str | None) -> None:
    console = Console()

    async def work() -> RunHandle:
        place = await _existing(folder)
        workflow = workflow_for(await open_world(folder))
        async with Engine(place.store_url, workflow, works=False) as engine:
            run = await engine.get(place.ticket_id, user=USER)
            now = run.data.diff_hash
            if about is not None and not now.startswith(about):
                raise InvalidInput(
                    f"{verdict}: expected the hash of the current diff, {now[:12]}, saw {about}; look again"
                )
            return await run.send(verdict, by=by or getpass.getuser(), data=text)

    run = _run(work())
    console.print(f"{run.ticket_id}: {run.state}")
    if run.status == "running":
        console.print(f"A worker goes on with it: holdfast-sre run {folder}")


async def _existing(folder: Path) -> Workspace:
    if not is_recording(folder):
        raise InvalidInput(
            f"{folder}: expected a workspace (a folder with cluster.json, tickets and manifests.git), saw "
            f"{'another folder' if await in_thread(folder.is_dir) else 'none'}; `holdfast-sre demo` makes one"
        )
    tickets = await TicketFolder(folder / TICKETS_FOLDER).all()
    if not tickets:
        raise NotFound(f"{folder}: expected a ticket under {TICKETS_FOLDER}/, found none")
    return Workspace(folder, tickets[0].id)


def _introduce(console: Console, place: Workspace) -> None:
    console.print(f"[bold]{place.ticket_id}[/bold] in workspace {place.folder}")


def _answer(yes: bool) -> Answer:
    async def answer(run: RunHandle) -> tuple[str, str, str] | None:
        if yes:
            return "approve", getpass.getuser(), "approved with --yes"
        if not sys.stdin.isatty():
            return None
        choice = await in_thread(
            Prompt.ask,
            "[bold]approve (a), request changes (c), reject (r), or later (l)?[/bold]",
            choices=["a", "c", "r", "l"],
        )
        if choice == "l":
            return None
        text = await in_thread(Prompt.ask, "why", default="")
        return VERDICTS[choice], getpass.getuser(), text

    return answer


def _finish(console: Console, run: RunHandle) -> None:
    if run.outcome.endswith("~closed"):
        return
    if run.run.is_ended:
        raise typer.Exit(EXIT_ESCALATED)
    console.print(
        "It waits. Decide with `holdfast-sre approve WORKSPACE`, then go on with `holdfast-sre run WORKSPACE`."
    )


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except HoldfastError as error:
        _fail(error)


def _fail(error: HoldfastError) -> NoReturn:
    Console(stderr=True).print(f"[red]{type(error).__name__}[/red]: {error}", highlight=False)
    raise typer.Exit(EXIT_UNAVAILABLE if isinstance(error, Unavailable) else EXIT_BAD_INPUT)
