"""Work that is dealt out: runs are named to a process by a queue outside, instead of being looked for by it.

The store stays the truth. Who is handed a run must first win the claim, so that a message that comes twice or late
does nothing; and `unclaimed` tells what nobody works on, so that a message that never came is sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Literal

import msgspec

from holdfast import faults
from holdfast.errors import Corrupt
from holdfast.logs import get_logger
from holdfast.store.contract.records import Claim, Key, Query, Record, Scope
from holdfast.workflow.actors.actor import Origin
from holdfast.workflow.actors.crew import Crew
from holdfast.workflow.decisions.admission import Verdict, admit
from holdfast.workflow.decisions.signals import EARLY, NEW
from holdfast.workflow.model.run import ENDED, RUN, SIGNAL, WORKABLE, Run
from holdfast.workflow.process.calling import called
from holdfast.workflow.process.inbox import refuse_rest, waiting_signals
from holdfast.workflow.process.ownership import Ownership
from holdfast.workflow.process.placing import look_at_places
from holdfast.workflow.process.runtime import Runtime, Stored, knows, run_key
from holdfast.workflow.recovery.recovery import RecoveryManager

TakenUp = Literal["taken", "owned", "idle", "full"]
"""What came of handing a run over: this process works on it now; somebody who lives does already; there is nothing to
do for it; there is no place here."""
"""Statuses in which a run that nobody owns is to be worked on at once."""
PAGE = 500

log = get_logger("holdfast.dealing")


class UnclaimedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is to be worked on while nobody does. `labels`: those it was started with.

    `is_new`: it was let go a moment ago, at `since`, by somebody who may have sent word of it; else nobody can have,
    for its time came, its owner died, or a signal was left with it. `since`: epoch seconds on the store's clock.
    `mark` changes whenever anybody did something with the run. `is_suspect`: it may be killing whoever works on it.
    """

    id: str
    tenant: str
    user: str
    workflow: str
    version: int
    labels: Mapping[str, str] = {}
    is_new: bool = True
    is_suspect: bool = False
    since: float = 0.0
    mark: str = ""


Deal = Callable[[UnclaimedRun], None]


class Dealer:
    """Hands runs over to one engine, and tells which wait for that."""

    def __init__(self, runtime: Runtime, crew: Crew, ownership: Ownership, recovery: RecoveryManager) -> None:
        self._runtime = runtime
        self._crew = crew
        self._ownership = ownership
        self._recovery = recovery
        self._freed = asyncio.Event()

    # -- handing over -------------------------------------------------------------------------------------------

    async def take_up(self, run_id: str, *, user: str, tenant: str, wait_max_s: float) -> TakenUp:
        """Work on one run here if nobody who lives does. See `Engine.take_up`."""
        give_up_at = asyncio.get_running_loop().time() + wait_max_s
        while True:
            self._freed.clear()  # before the try: a place that comes free during it is not missed
            answer = await self._try(run_key(tenant, user, run_id))
            if answer != "full":
                return answer
            try:
                async with asyncio.timeout_at(give_up_at):
                    await self._freed.wait()
            except TimeoutError:
                return answer

    async def _try(self, key: Key) -> TakenUp:
        stored = await self._runtime.load(Scope.of_user(key.tenant, key.user), key)
        run = stored.run
        self._runtime.built(run)  # or NotFound, which names the version and what is known here
        if stored.owner and stored.owner not in await self._ownership.dead():
            return "owned"
        if not stored.owner and not await self._is_to_do(run):
            return "idle"
        if self._crew.free == 0 or (run.status == "suspect" and not self._crew.is_lonely):
            return "full"
        return await self._claim(stored)

    async def _claim(self, stored: Stored) -> TakenUp:
        run = stored.run
        claim = Claim(
            kind=RUN,
            owner=self._runtime.process_id,
            from_owners=(stored.owner,),
            statuses=(run.status,),
            ids=(run.id,),
            limit=1,
        )
        try:
            taken = await self._runtime.store.claim(Scope.of_user(run.tenant, run.user), claim)
        except BaseException:
            self._recovery.strayed()  # it may be ours all the same
            raise
        faults.point("claim")
        if not taken:
            return "owned"
        silent_since = self._ownership.silent_since if stored.owner else None
        self._crew.launch(Stored.of(taken[0]), _origin(stored), silent_since=silent_since)
        return "taken"

    async def _is_to_do(self, run: Run) -> bool:
        """Whether there is anything to do for a run that nobody owns."""
        if run.is_ended:  # and whoever ended it may not have come to say so
            await refuse_rest(self._runtime, run)
            return False
        if run.status != "waiting":
            return run.status in WORKABLE
        if (await look_at_places(self._runtime.store, run, self._runtime.placer.limits)).occurrence is not None:
            return True
        is_due = run.due is not None and run.due <= self._runtime.store.now_s()
        return is_due or await self._has_word(run)

    async def _has_word(self, run: Run) -> bool:
        """Whether a signal lies in the inbox of a waiting run that can be judged now."""
        built = self._runtime.built(run)
        if not built.acceptors:
            return False
        waiting = await waiting_signals(self._runtime, run)
        return any(admit(built, run, item.signal).verdict is not Verdict.EARLY for item in waiting)

    # -- letting go ---------------------------------------------------------------------------------------------

    def freed(self) -> None:
        """An actor has ended: there may be a place."""
        self._freed.set()

    def worked_on(self) -> list[UnclaimedRun]:
        """The runs that have an actor here."""
        return [unclaimed(run) for run in self._crew.runs() if run.status in WORKABLE]

    # -- what nobody works on -----------------------------------------------------------------------------------

    async def find(self, *, is_thorough: bool) -> AsyncIterator[UnclaimedRun]:
        """Every run known here that is to be worked on while nobody does. See `Engine.unclaimed`."""
        async for record, since, is_new in self._left(is_thorough):
            try:
                found = unclaimed(Stored.of(record).run)
            except Corrupt as error:  # one unreadable run must not keep the others from being told
                log.error("run cannot be read", run=record.key.id, error=error.message)
                continue
            mark = f"{record.version}.{record.epoch}"
            yield msgspec.structs.replace(found, is_new=is_new, since=since, mark=mark)

    async def _left(self, is_thorough: bool) -> AsyncIterator[tuple[Record, float, bool]]:
        """The records of what nobody works on, since when, and whether word of it may be under way."""
        queues = knows(self._runtime.workflows)
        now = self._runtime.store.now_s()
        for process_id in await self._ownership.dead():
            orphans = Query(kind=RUN, statuses=(*WORKABLE, "waiting"), queues=queues, owner=process_id)
            async for record in self._all(orphans):
                yield record, now, False
        async for record in self._all(Query(kind=RUN, statuses=WORKABLE, queues=queues, owner="")):
            yield record, record.written_at, True
        due = Query(kind=RUN, statuses=("waiting",), queues=queues, owner="", due_until=now, by_due=True)
        async for record in self._all(due):
            yield record, record.due or now, False
        calls = await called(self._runtime, queues, everywhere=is_thorough)
        for place in await self._runtime.store.read(Scope.system(), calls.unowned) if calls.unowned else ():
            if place is not None and not place.owner:
                yield place, now, False
        signals = Query(kind=SIGNAL, statuses=(NEW, EARLY) if is_thorough else (NEW,), queues=queues)
        async for signal in self._all(signals):
            key = run_key(signal.key.tenant, signal.key.user, signal.key.id.partition("/")[0])
            found = (await self._runtime.store.read(Scope.system(), [key]))[0]
            if found is not None and not found.owner and await self._is_unheard(found):
                yield found, signal.written_at, False

    async def _is_unheard(self, record: Record) -> bool:
        """Whether a run that nobody owns leaves a signal unjudged that could be."""
        try:
            run = Stored.of(record).run
            if run.queue not in knows(self._runtime.workflows):
                return False
            return run.status in ENDED or (run.status == "waiting" and await self._has_word(run))
        except Corrupt as error:
            log.error("signal cannot be judged", run=record.key.id, error=error.message)
            return False

    async def _all(self, query: Query) -> AsyncIterator[Record]:
        after: str | None = None
        while True:
            page = await self._runtime.store.scan(Scope.system(), query, after=after, limit=PAGE)
            for record in page.records:
                yield record
            if (after := page.next) is None:
                return


def _origin(stored: Stored) -> Origin:
    if stored.owner:
        return Origin.RECOVERED
    return Origin.SUSPECT if stored.run.status == "suspect" else Origin.CLAIMED


def unclaimed(run: Run) -> UnclaimedRun:
    """What is told of a run that nobody works on."""
    return UnclaimedRun(
        id=run.id,
        tenant=run.tenant,
        user=run.user,
        workflow=run.workflow,
        version=run.version,
        labels=run.labels,
        is_suspect=run.status == "suspect",
    )
