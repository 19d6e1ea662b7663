"""The locks that states declare: written by the very decisions that enter and leave these states."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from holdfast.locks import Asked, LockBook, LockChange, Ticket
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Key, Record, Scope
from holdfast.workflow.decisions import occurrences as on
from holdfast.workflow.decisions.advance import granted, with_shown
from holdfast.workflow.decisions.decision import Decision
from holdfast.workflow.model.definition import StateSpec
from holdfast.workflow.model.run import RUN, RUNNABLE, WORKABLE, Leaf, Run

LOOK_MAX = 8
"""How many of those who are before a waiting run are looked at, whether they have a place."""


async def with_locks(
    store: Store, decision: Decision, spec_of: Callable[[str], StateSpec]
) -> tuple[Decision, LockChange]:
    """The decision with those of its locks granted that are free, and what it writes of all that it asks for and gives
    back. What one state asks for is asked for together: in one commit, all or none."""
    run = decision.run
    asking = [
        (path, leaf)
        for path, leaf in run.leaves.items()
        if leaf.locks and leaf.phase == "locking" and path in decision.entered
    ]
    given = [(path, leaf) for path, leaf in decision.released if leaf.locks]
    if not asking and not given:
        return decision, LockChange()
    requests = [request for _, leaf in (*asking, *given) for request in leaf.lock_requests]
    book = await LockBook.read(store, run.tenant, requests)
    for path, leaf in given:
        book.release(leaf.lock_requests, holder_of(run, path, leaf))
    for path, leaf in asking:
        holder = holder_of(run, path, leaf)
        ticket = Ticket(holder, run.user or run.tenant, book.now, name="", party=holder)
        book.ask(leaf.lock_requests, ticket, anew=True)
        if tokens := book.standing(leaf.lock_requests, holder).tokens:
            working, rows = granted(spec_of(path), leaf, tokens, book.now)
            run = with_shown(replace(run, leaves={**run.leaves, path: working}))
            decision = replace(decision, run=run, rows=decision.rows + rows)
    return decision, book.change()


class Look(NamedTuple):
    """What a look at the locks gave: something to judge, or when to look again."""

    occurrence: on.Occurrence | None = None
    again_at: float | None = None


async def look_at_locks(store: Store, run: Run) -> Look:
    """Locks that came to be ours, or that must be asked for again; else when one before us lapses unless it renews."""
    again_at: float | None = None
    for path, leaf in run.leaves.items():
        if leaf.phase != "locking" or not leaf.locks:
            continue
        book = await LockBook.read(store, run.tenant, leaf.lock_requests)
        place = book.standing(leaf.lock_requests, holder_of(run, path, leaf))
        if place.tokens:
            return Look(on.LockGranted(leaf=path, visit=leaf.visit, tokens=place.tokens))
        if place.must_ask:
            return Look(on.LockLost(leaf=path, visit=leaf.visit))
        if place.look_at is not None:
            again_at = min(place.look_at, again_at or place.look_at)
    return Look(again_at=again_at)


async def is_blocked_in_line(store: Store, run: Run, *, dead: Container[str]) -> bool:
    """Whether a lock that the run waits for is held, or awaited before it, by a run that itself waits for a place: it
    stands in line, or its time has come, or its owner is one of the `dead`."""
    for path, leaf in run.leaves.items():
        if leaf.phase != "locking" or not leaf.locks:
            continue
        book = await LockBook.read(store, run.tenant, leaf.lock_requests)
        before = book.standing(leaf.lock_requests, holder_of(run, path, leaf)).before
        if await _placeless(store, run.tenant, before[:LOOK_MAX], now=book.now, dead=dead):
            return True
    return False


async def holder_without_place(store: Store, asked: Asked, *, dead: Container[str]) -> str | None:
    """The id of a run that holds a lock which a block waits for, and itself waits for a place. A suspect is not meant:
    that one is nobody's to take up beside others."""
    tenant = asked.context.tenant
    book = await LockBook.read(store, tenant, asked.requests)
    before = asked.standing(book).before
    holders = [ticket for ticket in before if ticket.token] or before[:1]  # the first may have to ask, to be granted
    for record in await _placeless(store, tenant, holders[:LOOK_MAX], now=book.now, dead=dead):
        if record.status in RUNNABLE:
            return record.key.id
    return None


async def _placeless(
    store: Store, tenant: str, tickets: Sequence[Ticket], *, now: float, dead: Container[str]
) -> list[Record]:
    """The runs behind these tickets that wait for a place."""
    keys = {key: None for ticket in tickets if (key := _run_of(tenant, ticket)) is not None}
    records = await store.read(Scope.of_tenant(tenant), list(keys)) if keys else []
    return [record for record in records if record is not None and _wants_place(record, now, dead)]


def _wants_place(record: Record, now: float, dead: Container[str]) -> bool:
    if record.owner:
        return record.owner in dead
    is_due = record.status == "waiting" and record.due is not None and record.due <= now
    return is_due or record.status in WORKABLE


def _run_of(tenant: str, ticket: Ticket) -> Key | None:
    """The run whose visit a ticket is; None of another ticket."""
    kind, _, name = ticket.holder.partition(":")
    return Key(tenant, ticket.by, RUN, name.partition("/")[0]) if kind == "run" else None


def holder_of(run: Run, path: str, leaf: Leaf) -> str:
    """How a run's visit is named in a lock's queue."""
    return f"run:{run.id}/{leaf.visit_name(path)}"
