"""One signal from the command line to a run: about what somebody looked at, judged here or by an engine.

With the workflow's code or its outline at hand it is judged at once. What only the code can judge goes into the run's
inbox, where an engine that has the code finds it, and its answer is waited for.
"""

from __future__ import annotations

import asyncio
import shlex
from typing import Any

import msgspec

from holdfast import codec
from holdfast.cli import rules
from holdfast.cli.procedures.examination import processes_of
from holdfast.cli.session import Session
from holdfast.errors import Conflict, InvalidTransition, Rejected, Unavailable, WorkflowError
from holdfast.ids import uuid7
from holdfast.names import check_id
from holdfast.store.contract.records import ABSENT, Change, Require
from holdfast.workflow.decisions.admission import Expectation, expectation
from holdfast.workflow.decisions.signals import EARLY, NEW, REFUSED, TAKEN, signal_key, signal_put
from holdfast.workflow.model.build import Built
from holdfast.workflow.model.outline import NeedsCode
from holdfast.workflow.model.run import Run, Signal, decode_signal
from holdfast.workflow.process.notices import leave_notice
from holdfast.workflow.process.runtime import Stored

ANSWER_WAIT_S = 10.0
"""How long to wait for an engine's verdict before saying that there is none yet."""
ATTEMPTS_MAX = 20


async def send_signal(
    session: Session, ref: str, name: str, *, visit: int | None, about: str | None, data: Any, signal_id: str | None
) -> bool:
    """Send `name` to the run `ref`; whether it was taken, or is kept until its state is entered.

    Raises InvalidTransition with the reason where it is refused, Rejected where the state waits for a judgement of
    something that `about` does not name, Unavailable while nobody has judged it.
    """
    stored = await session.stored(ref)
    built = session.built(stored.run)
    meant = _meant(stored.run, name, _looked_at(built, stored.run, name, visit), visit, about)
    if built is None:
        return await _leave(session, stored, _signal(session, name, meant, data, signal_id))
    try:
        answer = await session.client.send(
            stored.run.id, name, by=session.by, state=meant.state, visit=meant.visit, about=meant.about or None,
            data=data, signal_id=signal_id,
        )  # fmt: skip
    except WorkflowError as error:
        if not isinstance(error.__cause__, NeedsCode):
            raise
        return await _leave(session, stored, _signal(session, name, meant, data, signal_id))
    return bool(answer)


def _looked_at(built: Built | None, run: Run, name: str, visit: int | None) -> Expectation:
    """What the signal would mean now; of a workflow that is not known here, what its one active state says."""
    if built is not None:
        return expectation(built, run, name)
    leaves = list(run.leaves.values())
    if visit is None and len(leaves) > 1:
        raise Rejected(
            f"run {run.ticket_id}: {run.queue} is not known here, and {len(leaves)} states are active: say which visit "
            f"is meant, as `holdfast show {run.ticket_id}` prints it (--visit), or name the code (--app)"
        )
    return Expectation("", leaves[0].visit, leaves[0].about) if len(leaves) == 1 else Expectation("", 0, "")


def _meant(run: Run, name: str, now: Expectation, visit: int | None, about: str | None) -> Expectation:
    """What the signal is meant for: the state, visit and subject that its sender looked at."""
    if now.about and about is None:
        command = shlex.join(rules.signal_command(run.ticket_id, name, visit=now.visit, about=now.about))
        raise Rejected(
            f"run {run.ticket_id}: {name!r} judges {now.about}, and nothing says that this is what you looked at; look "
            f"with `holdfast show {run.ticket_id}`, then `{command}`"
        )
    subject = now.about if about and rules.is_about(about, now.about) else about or ""
    return Expectation(now.state, visit if visit is not None else now.visit, subject)


def _signal(session: Session, name: str, meant: Expectation, data: Any, signal_id: str | None) -> Signal:
    return Signal(
        id=check_id("signal id", signal_id) if signal_id else uuid7(session.runtime.clock, session.runtime.randomness),
        name=check_id("signal", name),
        by=session.by,
        state=meant.state,
        visit=meant.visit,
        about=meant.about or None,
        data=msgspec.Raw(codec.encode(data, what=f"data of signal {name}")),
        sent_at=session.now_s,
    )


async def _leave(session: Session, stored: Stored, signal: Signal) -> bool:
    """Put a signal into the run's inbox as it stands, and wait for the verdict."""
    for _ in range(ATTEMPTS_MAX):
        run = stored.run
        if run.is_ended:
            raise InvalidTransition(f"run {run.ticket_id} has ended in {run.outcome}; it takes no {signal.name!r}")
        try:
            await session.runtime.commit(
                session.scope,
                Change(
                    change_id=session.runtime.change_id(),
                    writes=(signal_put(run, signal, NEW, expect=ABSENT, now=session.now_s),),
                    requires=(Require(key=run.key, version=stored.version, epoch=stored.epoch),),
                ),
            )
            break
        except Conflict:
            if (await session.store.read(session.scope, [signal_key(run, signal.id)]))[0] is not None:
                break  # the same id was sent before: its verdict is the answer
            stored = await session.client.load(run.key)
    else:
        raise Unavailable(f"run {stored.run.ticket_id}: it changed {ATTEMPTS_MAX} times meanwhile; try again")
    living = [process.id for process in await processes_of(session.store) if process.is_alive]
    for process_id in living if not stored.owner else [stored.owner]:
        await leave_notice(session.runtime, process_id, stored.run.id, "look", epoch=stored.epoch)
    return await _verdict(session, stored, signal, engines=len(living))


async def _verdict(session: Session, stored: Stored, signal: Signal, *, engines: int) -> bool:
    """Wait for what comes of a signal in the inbox; not at all where no engine is alive to judge it."""
    key, tick, run = signal_key(stored.run, signal.id), 0, stored.run
    try:
        async with asyncio.timeout(ANSWER_WAIT_S if engines else 0):
            while True:
                record = (await session.store.read(session.scope, [key]))[0]
                if record is None or record.status == TAKEN:
                    return True
                if record.status == REFUSED:
                    raise InvalidTransition(decode_signal(record.body).answer, run=run.id, signal=signal.name)
                if record.status == EARLY:
                    return False
                tick = await session.store.wait(tick)
    except TimeoutError:
        raise Unavailable(
            f"run {run.ticket_id}: {signal.name!r} lies in its inbox as {signal.id} and is not judged yet: only an "
            f"engine with the code of {run.queue} can, once it takes the run up, and {_alive(engines)}. See "
            f"`holdfast show {run.ticket_id}` for the verdict, or judge it now by the code: --app module:workflow",
            signal_id=signal.id,
        ) from None


def _alive(count: int) -> str:
    if count == 0:
        return "no engine is alive on this store"
    return f"{count} {'engine is' if count == 1 else 'engines are'} alive, of whatever workflows"
