"""A run as people watch it: progress line by line, the death of a worker, the question, the end, the report."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from rich.console import Console, Group
from rich.panel import Panel
from rich.status import Status
from rich.syntax import Syntax
from rich.text import Text

from holdfast import Engine, InvalidTransition, NotFound, RunHandle, SystemClock, Workflow
from holdfast_sre.cli.diff_view import in_short
from holdfast_sre.cli.terminal import command_name, printable
from holdfast_sre.cli.worker import Worker
from holdfast_sre.cli.workspace import Workspace, open_world
from holdfast_sre.files import in_thread, replace_text
from holdfast_sre.flow.bot import USER, workflow_for
from holdfast_sre.flow.chart import AWAITING_REVIEW, REVIEW_IN_PROGRESS
from holdfast_sre.flow.incident import Incident
from holdfast_sre.report.page import render
from holdfast_sre.report.story import (
    ERROR,
    PARKED,
    TRANSITION,
    UNPARKED,
    Death,
    Line,
    line_of,
    parking,
    report_of,
)
from holdfast_sre.telling import tell

FIND_S = 0.05
FIND_MAX_S = 30.0


class Answered(NamedTuple):
    """What a person said when asked."""

    verdict: str
    by: str
    text: str


Answer = Callable[[RunHandle], Awaitable[Answered | None]]
"""Asks a person; None where nobody is there to ask."""


class Watch:
    """Watches one run of a workspace, with a worker of its own that it starts again when it dies.

    `faults` are planted in the first worker; `answer` is asked when the run waits for review.
    """

    def __init__(self, workspace: Workspace, console: Console, answer: Answer, *, faults: str = "") -> None:
        self._workspace = workspace
        self._console = console
        self._answer = answer
        self._faults = faults
        self._worker = Worker(workspace.folder)
        self._clock = SystemClock()
        self._lines: list[Line] = []
        self._deaths: list[Death] = []
        self._death: tuple[float, str, str] | None = None

    async def follow(self) -> RunHandle:
        """Until the run has ended, or waits with nobody to answer; how it stands then. The report is written."""
        world = await open_world(self._workspace.folder)
        workflow = workflow_for(world)
        await self._worker.start(faults=self._faults)
        try:
            async with Engine(self._workspace.store_url, workflow, works=False) as engine:
                run = await self._beside_a_worker(engine)
                is_verified = await self._verified(engine)
                await self._report(run, workflow, is_verified=is_verified)
                return run
        finally:
            await self._worker.stop()

    # -- following ----------------------------------------------------------------------------------------------

    async def _beside_a_worker(self, engine: Engine) -> RunHandle:
        """Follow the run while the worker is kept running. Raises why it could not be."""
        try:
            async with asyncio.TaskGroup() as group:
                keeper = group.create_task(self._keep_worker())
                with self._console.status("the bot starts ...") as status:
                    run = await self._found(engine)
                    await self._follow_journal(engine, run, status)
                keeper.cancel()
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return await run.refresh()

    async def _found(self, engine: Engine) -> RunHandle:
        """The run of the ticket, once the worker has started it."""
        until_s = self._clock.time_s() + FIND_MAX_S
        while True:
            try:
                return await engine.get(self._workspace.ticket_id, user=USER)
            except NotFound:
                if self._clock.time_s() > until_s:
                    raise
            await self._clock.sleep(FIND_S)

    async def _follow_journal(self, engine: Engine, run: RunHandle, status: Status) -> None:
        async for row in engine.client(USER).follow():
            if row.key.id != run.id:
                continue
            line = line_of(row)
            self._came_back(line)
            self._lines.append(line)
            self._tell(line, status)
            if row.version < (await run.refresh()).version:
                continue
            if run.run.is_ended or run.status in ("failed", "poisoned"):
                return
            if any(state in (AWAITING_REVIEW, REVIEW_IN_PROGRESS) for state in run.states):
                status.stop()
                if not await self._ask(run):
                    return
                status.start()

    async def _ask(self, run: RunHandle) -> bool:
        self._console.print(_question(run.data, can_ask_for_more=self._console.is_terminal))
        answer = await self._answer(run)
        if answer is None:
            return False
        try:
            await run.send(answer.verdict, by=answer.by, data=answer.text)
        except InvalidTransition as error:
            self._console.print(Text(printable(str(error)), style="yellow"))
        return True

    # -- the worker ---------------------------------------------------------------------------------------------

    async def _keep_worker(self) -> None:
        while True:
            how = await self._worker.ended()
            state = next((line.to_state for line in reversed(self._lines) if line.to_state), "its start")
            is_at_work = not state.endswith(("awaiting_review", "review_in_progress"))
            self._death = (self._clock.time_s(), how, state) if is_at_work else None  # who waits has nothing to recover
            self._console.print(
                Panel(
                    f"The worker (process {self._worker.pid}) ended by [bold]{how}[/bold] in {state}.\n"
                    "What it had committed is in the store. A new worker is started.",
                    border_style="red",
                    title="worker died",
                )
            )
            await self._worker.start()

    def _came_back(self, line: Line) -> None:
        """The first journal row after a death: recovery, with what it took."""
        if self._death is None or line.at_s <= self._death[0]:
            return
        died_at, how, state = self._death
        self._death = None
        took_ms = (line.at_s - died_at) * 1000
        start_ms = (line.at_s - self._worker.started_at_s) * 1000
        note = f"{start_ms:.0f} ms of it from the start of the new process, interpreter included"
        self._deaths.append(Death(died_at, f"worker ended by {how}", state, took_ms, note))
        self._console.print(
            Panel(
                f"Taken up again in {state} after [bold]{took_ms:.0f} ms[/bold] ({note}).\n"
                "Finished steps are not run again; the one that was cut off runs once more, with the same key.",
                border_style="green",
                title="recovered",
            )
        )

    # -- telling ------------------------------------------------------------------------------------------------

    def _tell(self, line: Line, status: Status) -> None:
        since = f"{line.at_s - self._lines[0].at_s:7.2f}s"
        if line.name == TRANSITION:
            style = "red" if line.to_state.startswith(ERROR) else "cyan"
            self._say(f"{since}  ", Text.assemble((line.to_state, style), (_why(line), "dim")))
            status.update(f"{line.to_state} ...")
        elif line.name in (PARKED, UNPARKED):
            self._say(f"{since}    ", Text(printable(parking(line)), "yellow"))
            if line.name == PARKED:
                status.update(f"waits for {line.metadata.get('on')} ...")
        else:
            self._say(f"{since}    ", Text(f"{line.name}: {printable(line.text)}", "dim"))

    def _say(self, before: str, text: Text) -> None:
        tell(self._console, Text(before, "dim"), text)

    async def _verified(self, engine: Engine) -> bool | None:
        verify = getattr(engine.store, "verify", None)
        return None if verify is None else bool((await verify()).is_clean)

    async def _report(self, run: RunHandle, workflow: Workflow, *, is_verified: bool | None) -> None:
        report = report_of(run, self._lines, workflow, deaths=self._deaths, is_verified=is_verified)
        await in_thread(replace_text, self._workspace.report, render(report))
        if not self._console.is_terminal:  # on one it has just gone by, line by line
            self._console.print(audit_trail(self._lines), soft_wrap=True)
        digest = {True: "; every digest and chain verified", False: "; DIGESTS DO NOT MATCH", None: ""}[is_verified]
        style = "green" if run.outcome.endswith("~closed") else "yellow"
        said = run.data.outcome or (f"waits in {run.state}" if run.status == "waiting" else run.run.reason)
        self._console.print(
            Panel(
                Group(
                    Text(printable(f"{run.ticket_id}: {said}")),
                    Text(f"Journal of {len(self._lines)} rows{digest}"),
                    Text(f"Report: {self._workspace.report}", overflow="fold"),
                ),
                border_style=style,
                title=run.outcome.rpartition("~")[2] or run.status,
            )
        )
        if self._console.is_terminal:
            history = f"{command_name('holdfast')} history {run.ticket_id} --store {self._workspace.store_url}"
            self._console.print(Text.assemble(("Audit trail: ", "dim"), history), soft_wrap=True)


def audit_trail(lines: list[Line]) -> Text:
    """The transitions, a line each: version, time, from, to, trigger, by whom; never folded, so that one can search."""
    text = Text("Audit trail\n", style="bold")
    for line in lines:
        if line.name == TRANSITION:
            text.append(f"{line.version:4} {line.at_s - lines[0].at_s:8.2f}s  ", style="dim")
            text.append(f"{line.from_state or '(start)'} -> ", style="dim not bold")
            text.append(line.to_state, style="red" if line.to_state.startswith(ERROR) else "cyan not bold")
            text.append(f"  [{line.trigger}] by {line.agent}\n", style="dim not bold")
    return text


def diff_in_colours(diff: str) -> Syntax:
    """A diff as a terminal shows it."""
    return Syntax(printable(diff), "diff", theme="ansi_dark", background_color="default", word_wrap=True)


def _why(line: Line) -> str:
    """What moved the run, where that is not simply the end of the state's work."""
    if line.to_state == line.from_state:
        return "  is done"
    message = line.metadata.get("message") or (f"in {line.metadata['wait_s']:g} s" if "wait_s" in line.metadata else "")
    is_plain = line.agent == "engine" and line.trigger.endswith(".done")
    return ("" if is_plain else f"  [{line.trigger}] by {line.agent}") + (
        f"  {printable(str(message))}" if message else ""
    )


def _question(incident: Incident, *, can_ask_for_more: bool) -> Panel:
    """What is to be judged: the cause, its evidence, the diff and its hash. The diff is shortened where
    whoever is asked can ask for all of it."""
    cause = incident.cause
    parts: list[Text | Syntax] = []
    if cause is not None:
        parts.append(Text(f"{cause.rule} on {cause.object}, confidence {incident.confidence:.2f}", style="bold"))
        parts += [Text(printable(f"  {quote.source}: {quote.text}")) for quote in cause.evidence]
    parts += [Text(printable(f"  {line}")) for line in incident.origin_told]
    parts.append(Text(printable(f"\n{incident.reason}\n")))
    diff, left_out = in_short(incident.diff) if can_ask_for_more else (incident.diff, [])
    parts.append(diff_in_colours(diff))
    parts += [Text(printable(f"\n{remark}"), style="dim") for remark in left_out]
    return Panel(
        Group(*parts),
        title=f"pull request #{incident.pull} waits for review",
        subtitle=f"diff {incident.diff_hash[:12]}",
    )
