"""Tells a run's owner, or finds it one, when something was written that only an owner judges.

What was written is in the store already, and a sweep would find it. This makes it quick.
"""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.errors import HoldfastError
from holdfast.store.contract.records import Key, Query, Record, Scope
from holdfast.workflow.actors.crew import Crew
from holdfast.workflow.model.run import PROCESS, WORKABLE, Run
from holdfast.workflow.process.inbox import refuse_rest, waiting_signals
from holdfast.workflow.process.notices import leave_notice
from holdfast.workflow.process.runtime import Runtime, Stored, knows
from holdfast.workflow.recovery.recovery import RecoveryManager


class Messenger:
    """Brings runs word of their inboxes, for one engine."""

    def __init__(self, runtime: Runtime, crew: Crew, recovery: RecoveryManager) -> None:
        self._runtime = runtime
        self._crew = crew
        self._recovery = recovery

    def tell(self, keys: Iterable[Key]) -> None:
        """The runs of `keys` have something to look at: somebody does, soon."""
        for key in keys:
            self._runtime.tasks.start(self._tell(key), name=f"word {key.id}")

    async def look_into_inbox(self, stored: Stored) -> None:
        """What lies with a run that nobody owns is judged: here, or where there is no place, by whoever has one."""
        run = stored.run
        can_judge = run.queue in knows(self._runtime.workflows) and not self._recovery.is_for_suspects
        if can_judge and (await self._recovery.look_into_inbox(run) or self._crew.free > 0):
            return
        if await waiting_signals(self._runtime, run):
            await self._tell_all(run, stored.epoch)

    async def _tell(self, key: Key) -> None:
        try:
            record = (await self._runtime.store.read(Scope.system(), [key]))[0]
            if record is not None:
                await self._tell_owner(record)
        except HoldfastError:
            self._recovery.strayed()  # what was written stands all the same; a sweep looks into the inbox

    async def _tell_owner(self, record: Record) -> None:
        stored = Stored.of(record)
        if (actor := self._crew.find(record.key.id)) is not None:
            actor.poke()
        elif record.owner == self._runtime.process_id:
            self._recovery.strayed()
        elif record.owner:
            await leave_notice(self._runtime, record.owner, record.key.id, "look", epoch=record.epoch)
        elif stored.run.is_ended:
            if stored.run.queue in knows(self._runtime.workflows):
                await refuse_rest(self._runtime, stored.run)
        elif stored.run.status in WORKABLE:
            self._recovery.nudge()
        else:
            await self.look_into_inbox(stored)

    async def _tell_all(self, run: Run, epoch: int) -> None:
        page = await self._runtime.store.scan(Scope.system(), Query(kind=PROCESS), limit=1000)
        now = self._runtime.store.now_s()
        for record in page.records:
            if record.due is not None and record.due > now and record.key.id != self._runtime.process_id:
                await leave_notice(self._runtime, record.key.id, run.id, "look", epoch=epoch)
