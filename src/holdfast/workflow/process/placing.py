"""The places that states declare by `limits=`: taken for one attempt of a handler, by the decision that begins it.

Where there is no room the run stands in line and is nobody's: it costs neither a task nor a place of a worker. What
holds for an attempt ends with it, however it ends, in the same commit. Several limits are taken in one order that is
the same everywhere, one with a rate last: so none wait for each other, and a token is spent as the handler begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from weakref import WeakValueDictionary

from msgspec.structs import replace

from holdfast.limits import Limit, LimitBook, PlaceChange, ledger_key, next_at, room
from holdfast.limits.records import decode_ledger, slot_of
from holdfast.logs import get_logger
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Scope
from holdfast.workflow.decisions import occurrences as on
from holdfast.workflow.decisions.advance import start_attempt
from holdfast.workflow.decisions.decision import Decision, Row
from holdfast.workflow.decisions.locking import Look, holder_of, look_at_locks
from holdfast.workflow.model.definition import StateSpec
from holdfast.workflow.model.fairness import Priority, next_place
from holdfast.workflow.model.run import RUNNABLE, STILL, Leaf, Run

TURN_S = 1.0
"""How long a decision waits for the others of this process over the same limit."""
RULES_MAX = 1000
"""Declarations of other processes that were told of already."""

log = get_logger("holdfast.limits")


class Placer:
    """Decides over the places of one engine. `limits`: those that its workflows declare, by name."""

    def __init__(self, store: Store, limits: Mapping[str, Limit]) -> None:
        self._store = store
        self.limits = limits
        self._seen: set[tuple[str, str]] = set()
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, run: Run, before: Mapping[str, Leaf], specs: Mapping[str, StateSpec]) -> AsyncIterator[None]:
        """The decisions of this process over one limit one after the other, for side by side all but one of them would
        be lost and made anew. Who waits for long goes on all the same: the store judges."""
        held = {
            slot for leaf in before.values() for slot in (*leaf.places, *([slot_of(leaf.line)] if leaf.line else []))
        }
        wanted = {limit.slot(run.user) for path in run.leaves for limit in _limits(specs, path)}
        async with AsyncExitStack() as stack:
            with suppress(TimeoutError):
                async with asyncio.timeout(TURN_S if held or wanted else None):
                    for slot in sorted(held | wanted):
                        turn = self._turns.setdefault((run.tenant, slot), asyncio.Lock())
                        await stack.enter_async_context(turn)
            yield

    async def with_places(
        self,
        before: Mapping[str, Leaf],
        decision: Decision,
        specs: Mapping[str, StateSpec],
        *,
        asks: Callable[[str], bool],
    ) -> tuple[Decision, PlaceChange]:
        """The decision with those of its attempts begun for which there is room, and what it writes of all that it
        takes and gives back. `before`: the run's leaves until now. `asks`: whether the handler of a leaf begins here at
        once; else it asks later: when somebody takes the run up, or when what it needs is well again."""
        run = _settled(decision.run, specs)
        asking = [
            path
            for path in decision.entered
            if path in run.leaves and run.leaves[path].phase == "asking" and asks(path)
        ]
        given, left = _given_back(run, before)
        if not (asking or given or left):
            return (decision if run is decision.run else replace(decision, run=run)), PlaceChange()
        asked = {limit.slot(run.user): limit for path in asking for limit in specs[path].limits}
        slots = [*asked, *(slot for slot, _ in given), *map(slot_of, left)]
        known = {slot: asked.get(slot) or self.limits.get(slot.partition("/")[0]) for slot in slots}
        book = await LimitBook.read(
            self._store, run.tenant, run.user, known, asked=asked, priority=run.priority
        )  # fmt: skip
        self._compare(book, asked)
        for slot, holder in given:
            book.give_back(slot, holder)
        for waiter in left:
            book.leave_line(waiter)
        rows: list[Row] = []
        leaves = dict(run.leaves)
        for path in asking:
            leaves[path] = _ask(book, run, path, specs[path], rows)
        run = with_status(replace(run, leaves=leaves))
        return replace(decision, run=run, rows=decision.rows + tuple(rows)), book.change()

    def _compare(self, book: LimitBook, asked: Mapping[str, Limit]) -> None:
        """Say once where another process, or older code, counts by another declaration than this one."""
        for slot, limit in asked.items():
            seen = (limit.name, book.rule_before(slot))
            if seen[1] not in ("", str(limit)) and seen not in self._seen and len(self._seen) < RULES_MAX:
                self._seen.add(seen)
                log.warning("limit declared otherwise elsewhere", limit=slot, here=str(limit), there=seen[1])


async def look_at_places(store: Store, run: Run, limits: Mapping[str, Limit]) -> Look:
    """A place that may be had by a leaf that stands in line; else when to look again."""
    again_at: float | None = None
    for path, leaf in run.leaves.items():
        if leaf.phase != "queuing":
            continue
        slot = slot_of(leaf.line)
        limit = limits.get(slot.partition("/")[0])
        record = (await store.read(Scope.of_tenant(run.tenant), [ledger_key(run.tenant, slot)]))[0]
        ledger, now = decode_ledger(slot, record), store.now_s()
        if limit is None or room(limit, ledger, now=now) > 0:  # declared no more: the run is under newer code
            return Look(on.PlaceAsked(leaf=path, visit=leaf.visit))
        at = next_at(limit, ledger, now=now)
        if at is not None:
            again_at = min(at, again_at or at)
    return Look(again_at=again_at)


async def look_at_waits(store: Store, run: Run, limits: Mapping[str, Limit] | None) -> Look:
    """Locks that came to be ours, and places that may be had; else when to look again. `limits`: None where no handler
    may begin here. A run that stands still waits for neither."""
    if run.status in STILL:
        return Look()
    look = await look_at_locks(store, run)
    if look.occurrence is not None or limits is None:
        return look
    places = await look_at_places(store, run, limits)
    times = [at for at in (look.again_at, places.again_at) if at is not None]
    return Look(places.occurrence, min(times, default=None))


def with_status(run: Run) -> Run:
    """The run with a status that says whether it waits, now that it is known who of its leaves does."""
    if run.status not in RUNNABLE:
        return run
    return replace(run, status="running" if run.has_work else "waiting")


def _settled(run: Run, specs: Mapping[str, StateSpec]) -> Run:
    """The run without places and lines of leaves that begin no attempt, or of a run that stands still, and without
    lines of limits that the code has no more."""
    is_still = run.status not in (*RUNNABLE, "suspect")
    leaves = dict(run.leaves)
    for path, leaf in run.leaves.items():
        if not (leaf.places or leaf.line):
            continue
        if is_still or leaf.phase not in ("working", "asking", "queuing"):
            phase = "asking" if leaf.phase == "queuing" else leaf.phase
            leaves[path] = replace(leaf, places=(), line="", phase=phase)
        elif leaf.line and slot_of(leaf.line) not in [limit.slot(run.user) for limit in _limits(specs, path)]:
            leaves[path] = replace(leaf, line="")
    return run if leaves == run.leaves else replace(run, leaves=leaves)


def _limits(specs: Mapping[str, StateSpec], path: str) -> tuple[Limit, ...]:
    """What the code that is known here declares for a leaf; nothing for one that it has no more."""
    return specs[path].limits if path in specs else ()


def _given_back(run: Run, before: Mapping[str, Leaf]) -> tuple[list[tuple[str, str]], list[str]]:
    """What was held before and is no more, as (slot, holder); and the waiters that leave their line."""
    after = {holder_of(run, path, leaf): leaf for path, leaf in run.leaves.items()}
    given: list[tuple[str, str]] = []
    left: list[str] = []
    for path, leaf in before.items():
        holder = holder_of(run, path, leaf)
        now = after.get(holder)
        given += [(slot, holder) for slot in leaf.places if now is None or slot not in now.places]
        if leaf.line and (now is None or now.line != leaf.line):
            left.append(leaf.line)
    return given, left


def _ask(book: LimitBook, run: Run, path: str, spec: StateSpec, rows: list[Row]) -> Leaf:
    """The leaf with its attempt begun, or in line for the first of its limits that has no room. What comes before that
    one it holds: all ask in the same order, so somebody always goes on."""
    leaf = run.leaves[path]
    holder = holder_of(run, path, leaf)
    for limit in spec.limits:
        slot = limit.slot(run.user)
        if slot in leaf.places:
            continue
        waiter = leaf.line if slot_of(leaf.line) == slot else ""
        if not book.has_room(slot, waiter=waiter):
            if not waiter:
                place = partial(_place, run.priority)
                waiter = book.enter_line(slot, run.id, holder, run.queue, place)
                rows.append(Row(name="place-awaited", metadata={"limit": slot}))
            return replace(leaf, phase="queuing", line=waiter)
        book.take(slot, holder)
        if waiter:
            book.leave_line(waiter, is_granted=True)
        leaf = replace(leaf, line="", places=(*leaf.places, slot))
        rows.append(Row(name="place-granted", metadata={"limit": slot, "at": book.now}))
    return start_attempt(spec, leaf, book.now)


def _place(priority: Priority, last: float | None, front: float) -> float:
    return next_place(last, front=front, priority=priority)
