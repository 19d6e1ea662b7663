"""The inbox of a run: signals that were sent, each a record of its own until it is taken or refused."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from holdfast.errors import Conflict
from holdfast.store.contract.records import Change, Query, Record, Scope
from holdfast.workflow.decisions import occurrences as on
from holdfast.workflow.decisions.admission import reads_inbox
from holdfast.workflow.decisions.signals import EARLY, NEW, REFUSED, signal_put
from holdfast.workflow.model.run import SIGNAL, Run, Signal, decode_signal, ended_text, where_of
from holdfast.workflow.process.runtime import Runtime


class Waiting(NamedTuple):
    """A signal that nobody has judged for good, with the record it lies in."""

    signal: Signal
    record: Record


async def waiting_signals(runtime: Runtime, run: Run) -> list[Waiting]:
    """The unjudged signals of a run, oldest first."""
    found: list[Waiting] = []
    after: str | None = None
    query = Query(kind=SIGNAL, prefix=f"{run.id}/", statuses=(NEW, EARLY))
    while True:
        page = await runtime.store.scan(Scope.of_user(run.tenant, run.user), query, after=after, limit=100)
        found += [Waiting(decode_signal(record.body), record) for record in page.records]
        if page.next is None:
            return sorted(found, key=lambda item: (item.signal.sent_at, item.signal.id))
        after = page.next


async def answer(runtime: Runtime, run: Run, waiting: Waiting, status: str, text: str) -> bool:
    """Write a verdict that moves no run; False where somebody else judged the signal meanwhile."""
    told = replace(waiting.signal, answer=text)
    put = signal_put(run, told, status, expect=waiting.record.version, now=runtime.store.now_s())
    try:
        await runtime.commit(Scope.of_user(run.tenant, run.user), Change(change_id=runtime.change_id(), writes=(put,)))
    except Conflict:
        return False
    return True


async def refuse_rest(runtime: Runtime, run: Run) -> None:
    """The run has ended: whoever sent what still lies in its inbox hears that nobody will judge it."""
    if reads_inbox(runtime.built(run), run):
        for waiting in await waiting_signals(runtime, run):
            await answer(runtime, run, waiting, REFUSED, ended_text(run, waiting.signal.name))


async def tell_refused(runtime: Runtime, run: Run, occurrence: on.Occurrence, reason: str) -> None:
    """Tell the sender of a signal that it was refused. A refusal changes nothing, and anything else was only late."""
    if isinstance(occurrence, on.Signalled):
        for waiting in await waiting_signals(runtime, run):
            if waiting.signal.id == occurrence.signal.id:
                text = f"run {run.id} is in {where_of(run)} and refuses {occurrence.signal.name!r}: {reason}"
                await answer(runtime, run, waiting, REFUSED, text)
