"""The commands that run the bot: `demo`, `run`, `serve`, and `chart`, which shows what they go by."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from holdfast import HoldfastError, InvalidInput, RunHandle, SystemClock, set_up_logs, to_mermaid, to_svg
from holdfast_sre.cli.review import Folder, TicketName, login_name
from holdfast_sre.cli.terminal import CLOSED, NOT_NOW, NOT_REPAIRED, command_name, console_on, run, typed_line
from holdfast_sre.cli.watch import Answer, Answered, Watch, diff_in_colours
from holdfast_sre.cli.workspace import Workspace, demo_workspace, existing_workspace, incident_workspace, open_world
from holdfast_sre.evidence.incident_folders import Case, find_cases
from holdfast_sre.evidence.manifest_files import load_folder
from holdfast_sre.evidence.recording import is_recording
from holdfast_sre.files import in_thread, replace_text
from holdfast_sre.flow.bot import serve_workspace
from holdfast_sre.flow.chart import manual_workflow

KILL_IN_THE_MIDDLE = "before-memo:1:kill"
"""Dies after a step's effect (the commit in git) and before its result is stored: the worst moment there is."""

STORY = (
    "A ferry line's customers cannot book: somebody trimmed memory too far. The bot takes the ticket, finds the cause, "
    "offers the repair as a pull request and waits for you; its worker is killed on the way.\n"
)

VERDICTS = {"a": "approve", "c": "request_changes", "r": "reject"}

QUESTION = "approve (a), request changes (c), reject (r), whole diff (d), later (l)?"

Yes = Annotated[bool, typer.Option("--yes", help="Approve without asking, in the name of whoever runs this.")]
Place = Annotated[
    Path | None, typer.Option("--workspace", help="Empty folder to work in; a new temporary one unless given.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("demo", rich_help_panel="See it work")(demo_command)
    app.command("chart", rich_help_panel="See it work")(chart_command)
    app.command("run", rich_help_panel="Let it work")(run_command)
    app.command("serve", rich_help_panel="Let it work")(serve_command)


def demo_command(yes: Yes = False, workspace: Place = None) -> None:
    """An incident from ticket to closed ticket, with a kill -9 of the bot on the way.

    Makes a repository of manifests with a fault in it, lets the bot find, mend, deploy and prove, kills its worker
    between an effect and its record, asks for approval, and writes a report.
    """
    console = console_on()

    async def work() -> tuple[RunHandle, Workspace]:
        with _folder(workspace, "holdfast-demo-") as folder:
            place = await demo_workspace(folder, now_s=SystemClock().time_s())
        console.print(Text(STORY))
        _introduce(console, place)
        return await Watch(place, console, _answer(yes), faults=KILL_IN_THE_MIDDLE).follow(), place

    _finish(console, *run(work()))


def run_command(
    path: Annotated[Path, typer.Argument(help="An incident's folder, or a workspace to go on with.")],
    yes: Yes = False,
    workspace: Place = None,
    baseline: Annotated[
        Path | None, typer.Option("--baseline", help="Folder with the last known good manifests.")
    ] = None,
    ticket: TicketName = None,
) -> None:
    """The whole workflow on one incident: diagnosis, repair, review, deployment, proof.

    Exit code 0 when the ticket was closed, 1 when people have to go on, 3 while it waits for a decision.
    """
    console = console_on()

    async def work() -> tuple[RunHandle, Workspace]:
        if not is_recording(path):
            place = await _new_workspace(path, workspace, baseline)
        elif workspace is None and baseline is None:
            place = await existing_workspace(path, ticket=ticket)
        else:
            raise InvalidInput(f"{path} is a workspace already: --workspace and --baseline are for an incident's first")
        _introduce(console, place)
        return await Watch(place, console, _answer(yes)).follow(), place

    _finish(console, *run(work()))


def serve_command(
    workspace: Folder,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End once every run has ended or waits for people.")
    ] = False,
) -> None:
    """Work on a workspace's tickets and reviews until stopped. Killed at any moment, it goes on where it was."""
    set_up_logs(level="info")

    async def work() -> None:
        place = await existing_workspace(workspace, ticket=None, is_any=True)
        this = asyncio.current_task()
        assert this is not None
        # An orderly end gives the runs back; after any other one the next worker has to find out first.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
        with suppress(asyncio.CancelledError):
            await serve_workspace(place.store_url, await open_world(workspace), until_idle=until_idle)

    run(work())


def chart_command(
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print Mermaid (the default).")] = False,
    svg: Annotated[Path | None, typer.Option("--svg", help="Write a picture to this file.")] = None,
) -> None:
    """The workflow's chart: every state and every way between them."""
    chart = manual_workflow().build().chart

    async def draw(path: Path) -> None:
        await in_thread(replace_text, path, to_svg(chart))

    if svg is not None:
        run(draw(svg))
        console_on(is_error=True).print(Text(f"written: {svg}"), soft_wrap=True)
    if mermaid or svg is None:
        sys.stdout.write(to_mermaid(chart) + "\n")


async def _new_workspace(path: Path, workspace: Path | None, baseline: Path | None) -> Workspace:
    case = await in_thread(_one_case, path)
    good = await in_thread(load_folder, baseline) if baseline is not None else {}
    with _folder(workspace, "holdfast-run-") as folder:
        return await incident_workspace(
            folder, case.folder, case=case.name, baseline=good, now_s=SystemClock().time_s()
        )


def _one_case(path: Path) -> Case:
    cases = find_cases([path])
    if len(cases) > 1:
        raise InvalidInput(f"{path}: expected one incident, saw {len(cases)}; name one, such as {cases[0].folder}")
    return cases[0]


@contextmanager
def _folder(given: Path | None, prefix: str) -> Iterator[Path]:
    """The folder for a new workspace; a temporary one that came to hold nothing is not left behind."""
    folder = given or Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    except HoldfastError:
        if given is None:
            with suppress(OSError):
                folder.rmdir()
        raise


def _introduce(console: Console, place: Workspace) -> None:
    console.print(Text.assemble((place.ticket_id, "bold"), f" in workspace {place.folder}"), soft_wrap=True)


def _answer(yes: bool) -> Answer:
    async def answer(run: RunHandle) -> Answered | None:
        if yes:
            return Answered("approve", login_name(), "approved with --yes")
        if not sys.stdin.isatty():
            return None
        choice = " "
        while choice not in ("l", *VERDICTS):
            choice = (await typed_line(QUESTION)).lower()[:1] or "l"
            if choice == "d":
                console_on().print(diff_in_colours(run.data.diff))
        if choice == "l":
            return None
        return Answered(VERDICTS[choice], login_name(), await typed_line("in words (may be empty):"))

    return answer


def _finish(console: Console, run: RunHandle, place: Workspace) -> None:
    """Say how to go on, and end with the code that tells how it went."""
    if run.outcome.endswith("~closed"):
        raise typer.Exit(CLOSED)
    if run.run.is_ended:
        raise typer.Exit(NOT_REPAIRED)
    if run.status in ("failed", "poisoned"):
        console.print(
            Text(
                f"It is {run.status}: {run.run.reason}. "
                f"Look: {command_name('holdfast')} show {run.id} --store {place.store_url}"
            ),
            soft_wrap=True,
        )
        raise typer.Exit(NOT_REPAIRED)
    console.print(
        Text(
            "It waits for a decision, and takes it whenever it comes:\n"
            f"  {command_name()} approve {place.folder}      (or request-changes, or reject)\n"
            f"  {command_name()} run {place.folder}          to go on"
        ),
        soft_wrap=True,
    )
    raise typer.Exit(NOT_NOW)
