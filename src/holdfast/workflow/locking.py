"""The locks that states declare: written by the very decisions that enter and leave these states."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from holdfast.locks import LockBook, LockChange, Ticket
from holdfast.store.protocol import Store
from holdfast.workflow import occurrences as on
from holdfast.workflow.advance import granted, with_shown
from holdfast.workflow.decision import Decision
from holdfast.workflow.definition import StateSpec
from holdfast.workflow.run import Leaf, Run


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


def holder_of(run: Run, path: str, leaf: Leaf) -> str:
    """How a run's visit is named in a lock's queue."""
    return f"run:{run.id}/{leaf.visit_name(path)}"
