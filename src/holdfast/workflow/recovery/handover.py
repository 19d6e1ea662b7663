"""How a run comes into this process by somebody's call: committed, its old owner told, its actor started, as one.

Whoever called may be gone before that is over (cancelled, timed out): it goes on without him, for a run that is
committed as ours and has no actor would be missed by everybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from holdfast.errors import CommitUnknown, Conflict, HoldfastError, Unavailable
from holdfast.store.contract.records import ABSENT, Put, Require
from holdfast.workflow.actors.actor import Origin
from holdfast.workflow.actors.crew import Crew
from holdfast.workflow.decisions.decision import Decision
from holdfast.workflow.process.inbox import refuse_rest
from holdfast.workflow.process.notices import leave_notice
from holdfast.workflow.process.runtime import ATTEMPTS_MAX, Runtime, Stored
from holdfast.workflow.recovery.messenger import Messenger
from holdfast.workflow.recovery.recovery import RecoveryManager


class Handover:
    """The commits by which callers begin runs and take them from their owners."""

    def __init__(self, runtime: Runtime, crew: Crew, recovery: RecoveryManager) -> None:
        self._runtime = runtime
        self._crew = crew
        self._recovery = recovery
        self._line = recovery.line
        self._messenger = Messenger(runtime, crew, recovery)

    async def begin(self, decision: Decision, *, extra: tuple[Put, ...], requires: tuple[Require, ...] = ()) -> Stored:
        """Commit the decision that starts a run, and work on it here if there is a place. Raises as a commit does."""
        return await self._as_one(partial(self._begin, decision, extra, requires), decision.run.id)

    async def take(self, stored: Stored, decision: Decision, *, extra: tuple[Put, ...] = ()) -> Stored:
        """Commit a decision on a run whoever owns it: the old owner is fenced off, and told. Raises Conflict or Fenced
        where the run moved on; nothing was written then."""
        return await self._as_one(partial(self._take, stored, decision, extra), decision.run.id)

    async def _as_one(self, work: Callable[[], Awaitable[Stored]], run_id: str) -> Stored:
        task = self._runtime.tasks.start(self._outcome(work), name=f"handover {run_id}")
        try:
            outcome = await asyncio.shield(task)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller is not None and caller.cancelling() == 0:  # not the caller was cancelled, but the work
                raise Unavailable(f"run {run_id}: the engine was closed meanwhile; look before you try again") from None
            raise
        if isinstance(outcome, HoldfastError):
            raise outcome
        return outcome

    async def _outcome(self, work: Callable[[], Awaitable[Stored]]) -> Stored | HoldfastError:
        """What came of it, for a caller who may not be there to hear it."""
        try:
            return await work()
        except (CommitUnknown, Unavailable) as error:
            self._recovery.strayed()  # it may be ours all the same
            return error
        except HoldfastError as error:
            return error

    async def _begin(self, decision: Decision, extra: tuple[Put, ...], requires: tuple[Require, ...]) -> Stored:
        if not self._recovery.has_place and decision.run.status == "running":
            stored = await self._put_in_line(decision, extra, requires)
        else:
            has_place = self._crew.free > 0
            stored, _ = await self._runtime.commit_decision(
                Stored(decision.run, b"", ABSENT, 0, ""),
                decision,
                owner=self._runtime.process_id if has_place else "",
                guard=False,
                raise_epoch=has_place,
                asks=has_place,
                extra=extra,
                requires=requires,
            )
        self._take_up(stored, Origin.STARTED)
        return stored

    async def _put_in_line(self, decision: Decision, extra: tuple[Put, ...], requires: tuple[Require, ...]) -> Stored:
        """Commit a run that somebody else will work on, with the next place of its user."""
        for _ in range(ATTEMPTS_MAX):
            ticket = await self._line.ticket(decision.run)
            try:
                stored, _ = await self._runtime.commit_decision(
                    Stored(decision.run, b"", ABSENT, 0, ""),
                    decision,
                    owner="",
                    guard=False,
                    extra=(*extra, ticket.put),
                    requires=requires,
                    place=ticket.place,
                )
                return stored
            except HoldfastError as error:
                self._line.tear(ticket)
                if not (isinstance(error, Conflict) and error.facts.get("key") == ticket.put.key):
                    raise
        raise Unavailable(f"run {decision.run.id}: lost {ATTEMPTS_MAX} races for a place in line; try again later")

    async def _take(self, stored: Stored, decision: Decision, extra: tuple[Put, ...]) -> Stored:
        has_place = self._crew.free > 0 or self._crew.find(stored.run.id) is not None
        after, _ = await self._runtime.commit_decision(
            stored,
            decision,
            owner=self._runtime.process_id if has_place and decision.run.status != "suspect" else "",
            guard=False,
            raise_epoch=True,
            extra=extra,
        )
        self._take_up(after, Origin.CLAIMED)
        if stored.owner and stored.owner != self._runtime.process_id:
            await leave_notice(self._runtime, stored.owner, stored.run.id, "lost", epoch=after.epoch)
        try:
            if after.run.is_ended:
                await refuse_rest(self._runtime, after.run)
            elif after.run.status == "waiting":
                await self._messenger.look_into_inbox(after)
        except HoldfastError:
            self._recovery.strayed()  # the decision stands all the same; a sweep looks into the inbox
        return after

    def _take_up(self, stored: Stored, origin: Origin) -> None:
        if stored.owner == self._runtime.process_id:
            self._crew.launch(stored, origin)
        else:
            self._crew.lose(stored.run.id, epoch=stored.epoch)
            self._recovery.released(stored)
