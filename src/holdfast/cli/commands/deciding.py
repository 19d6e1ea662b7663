"""Commands that decide: send and its three short forms, cancel, pause, resume, retry, fork.

Each decision is judged by the workflow's own rules, here, by its code or its outline. What only the code can judge is
left to an engine that has it.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from holdfast import codec
from holdfast.cli import rules
from holdfast.cli.command import DECIDE, command
from holdfast.cli.commands.reading import RunRef
from holdfast.cli.documents.runs import run_line
from holdfast.cli.drawing import tables
from holdfast.cli.procedures.sending import send_signal
from holdfast.cli.session import Desk, Session
from holdfast.errors import InvalidInput, InvalidTransition, Rejected, WorkflowError
from holdfast.workflow.decisions import occurrences as on
from holdfast.workflow.model.outline import NeedsCode
from holdfast.workflow.model.run import where_of

Reason = Annotated[str, typer.Option(help="Why, for the audit trail.")]
Visit = Annotated[int | None, typer.Option(min=1, help="Only in this visit of its state, as `show` prints it.")]
About = Annotated[
    str | None, typer.Option(metavar="HASH", help="What was judged, as `show` prints it; 7 signs of it will do.")
]
Data = Annotated[str | None, typer.Option(metavar="JSON", help="What the signal carries.")]
SignalId = Annotated[str | None, typer.Option("--id", help="De-duplication key: the same id counts once.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to a program."""
    for name, work in (
        ("send", send), ("approve", approve), ("reject", reject), ("request-changes", request_changes),
        ("cancel", cancel), ("pause", pause), ("resume", resume), ("retry", retry), ("fork", fork),
    ):  # fmt: skip
        command(app, name, DECIDE, acts=True)(work)


async def send(
    desk: Desk,
    run: RunRef,
    signal: Annotated[str, typer.Argument(help="The signal's name.")],
    *,
    visit: Visit = None,
    about: About = None,
    data: Data = None,
    signal_id: SignalId = None,
) -> None:
    """Send a signal to a run: it is taken at once, kept for later, or refused with the reason."""
    async with desk.runs() as session:
        carried = _json("--data", data)
        await _tell(desk, session, run, signal, visit=visit, about=about, data=carried, signal_id=signal_id)


async def approve(desk: Desk, run: RunRef, *, visit: Visit = None, about: About = None) -> None:
    """Approve what a run waits for a judgement of."""
    await _judge(desk, run, "approve", visit, about, None)


async def reject(
    desk: Desk, run: RunRef, *, visit: Visit = None, about: About = None, reason: Reason = ""
) -> None:  # fmt: skip
    """Reject what a run waits for a judgement of."""
    await _judge(desk, run, "reject", visit, about, {"reason": reason} if reason else None)


async def request_changes(
    desk: Desk, run: RunRef, *, visit: Visit = None, about: About = None, reason: Reason = ""
) -> None:  # fmt: skip
    """Send what a run waits for a judgement of back to be changed."""
    await _judge(desk, run, "request_changes", visit, about, {"reason": reason} if reason else None)


async def cancel(desk: Desk, run: RunRef, *, reason: Reason = "") -> None:
    """End a run through its clean-up state, or in `cancelled`."""
    async with desk.runs() as session:
        await _occur(session, run, "cancel it", on.Cancelled(agent=session.by, reason=reason))
        await _answer(desk, session, run)


async def pause(desk: Desk, run: RunRef, *, reason: Reason = "") -> None:
    """Stop working on a run until it is resumed; its timers go on, its locks are given back."""
    async with desk.runs() as session:
        await _occur(session, run, "pause it", on.Paused(agent=session.by, reason=reason))
        await _answer(desk, session, run)


async def resume(desk: Desk, run: RunRef, *, reason: Reason = "") -> None:
    """Go on with a paused, failed or set-aside run, with a fresh budget of retries."""
    async with desk.runs() as session:
        await _occur(session, run, "resume it", on.Resumed(agent=session.by, reason=reason))
        await _answer(desk, session, run)


async def retry(desk: Desk, run: RunRef) -> None:
    """Try again now: a failed or set-aside run, or one that waits for its next retry."""
    async with desk.runs() as session:
        stored = (await session.stored(run)).run
        retries = rules.retries_now(stored, by=session.by)
        if not retries:
            raise InvalidTransition(
                f"run {stored.ticket_id}: it is {stored.status} in {where_of(stored)}; only a failed or set-aside run, "
                "or one that waits for its next retry, can be retried"
            )
        for occurrence in retries:
            await _occur(session, run, "retry it", occurrence)
        await _answer(desk, session, run)


async def fork(
    desk: Desk,
    run: RunRef,
    *,
    version: Annotated[int | None, typer.Option(min=1, help="From this version, as `checkpoints` lists it.")] = None,
    checkpoint: Annotated[str | None, typer.Option(metavar="NAME", help="From this named checkpoint.")] = None,
    new_id: Annotated[str | None, typer.Option("--id", help="Your own id of the new run.")] = None,
) -> None:
    """Start a new run where another one stands, or stood; the other stays as it is."""
    if version is not None and checkpoint is not None:
        raise InvalidInput("fork: expected --version or --checkpoint, saw both")
    async with desk.runs() as session:
        stored = (await session.stored(run)).run
        session.require_built(stored, "fork it")
        try:
            made = await session.client.fork(stored.id, version=version, checkpoint=checkpoint, id=new_id)
        except WorkflowError as error:
            raise _needs_code(error, stored.queue, "fork it") from error
        await _answer(desk, session, made.id)


async def _judge(
    desk: Desk, run: str, signal: str, visit: int | None, about: str | None, data: dict[str, str] | None
) -> None:
    async with desk.runs() as session:
        await _tell(desk, session, run, signal, visit=visit, about=about, data=data, signal_id=None)


async def _tell(desk: Desk, session: Session, run: str, signal: str, **meant: Any) -> None:
    is_taken = await send_signal(session, run, signal, **meant)
    await _answer(desk, session, run)
    if not is_taken:
        desk.output.note(f"{signal!r} is kept in the run's inbox until a state that takes it is entered")


async def _occur(session: Session, ref: str, what: str, occurrence: on.Occurrence) -> None:
    run = (await session.stored(ref)).run
    session.require_built(run, what)
    try:
        await session.client.occur(run.id, occurrence)
    except WorkflowError as error:
        raise _needs_code(error, run.queue, what) from error


def _needs_code(error: WorkflowError, queue: str, what: str) -> WorkflowError | Rejected:
    """What to say about a decision that could not be made: that it needs the code, or what went wrong in the code."""
    if not isinstance(error.__cause__, NeedsCode):
        return error
    return Rejected(
        f"cannot {what} here: {error.__cause__.message}; name the code of {queue}: --app module:workflow, or `app` in "
        "holdfast.toml"
    )


async def _answer(desk: Desk, session: Session, ref: str) -> None:
    """Say how the run stands now."""
    record = await session.record(ref)
    now = session.now_s
    desk.output.one(run_line(record), lambda line: tables.runs_table([line], now=now))


def _json(option: str, text: str | None) -> Any:
    try:
        return None if text is None else codec.decode(text.encode())
    except (msgspec.MsgspecError, InvalidInput) as error:
        raise InvalidInput(f"{option}: expected JSON, saw {text!r:.80}: {error}") from error
