"""Recovery: a continuous sweep that finds what nobody works on, and takes it up.

Runs of dead processes, runs nobody owns yet, runs whose time has come, suspects one at a time, and signals that were
sent just as their run was let go. It wakes for a reason (a due time, a commit of another process, an unhealthy store
that came back); only where processes share a store does it also look once a second for the death of a peer.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress

from holdfast import faults
from holdfast.errors import CommitUnknown, Conflict, Corrupt, HoldfastError, Unavailable
from holdfast.logs import get_logger
from holdfast.store.contract.records import Claim, Query, Record, Scope
from holdfast.workflow.actors.actor import Actor, Origin
from holdfast.workflow.actors.crew import Crew
from holdfast.workflow.actors.way import Way
from holdfast.workflow.decisions.admission import calls_for_owner, reads_inbox
from holdfast.workflow.model.run import RUN, RUNNABLE, STILL, WORKABLE, Run
from holdfast.workflow.process.alarm import Appointment
from holdfast.workflow.process.calling import Dealt, called
from holdfast.workflow.process.inbox import waiting_signals
from holdfast.workflow.process.line import Line
from holdfast.workflow.process.notices import take_notices
from holdfast.workflow.process.ownership import Ownership
from holdfast.workflow.process.runtime import Runtime, Stored, knows
from holdfast.workflow.process.watch import StoreWatch
from holdfast.workflow.recovery.left import LeftSignals
from holdfast.workflow.recovery.quarantine import Quarantine

AsyncRuns = AsyncIterator[str]
CLAIM_FIRST = 16
CLAIM_BATCH = 200
"""Runs claimed by the first commit and by a later one: each twice the one before, so that the first progress does not
wait for many others to be taken up."""
HINT_PAUSE_S = 0.05
"""Hints of other processes' commits are answered at most this often."""

log = get_logger("holdfast.recovery")


class Suspects(enum.Enum):
    """Where an engine's suspects are tried: in a process of their own where that can be, or, in that process, here."""

    APART = "apart"
    ONLY = "only"


class RecoveryManager:
    """Takes up runs for one engine. `sweep_s`: how often to look for dead peers on a shared store; `suspects`: whether
    this engine is for suspects alone; `quarantine`: where they are tried else, if that is not here; `deal`: where a
    queue deals the work out, who is told of each run that somebody is to work on."""

    def __init__(
        self,
        runtime: Runtime,
        crew: Crew,
        ownership: Ownership,
        *,
        sweep_s: float = 1.0,
        suspects: Suspects = Suspects.APART,
        quarantine: Quarantine | None = None,
        deal: Callable[[Run], None] | None = None,
    ) -> None:
        self._runtime = runtime
        self._crew = crew
        self._ownership = ownership
        self._sweep_s = sweep_s
        self.is_for_suspects = suspects is Suspects.ONLY
        self.quarantine = quarantine
        self._deal = deal
        self.is_over = asyncio.Event()
        """Of an engine that is for suspects alone: it finds none any more, or somebody wants its end."""
        self._nudged = asyncio.Event()
        self._appointment: Appointment | None = None
        self._dead: set[str] = set()
        self._is_inbox_due = True
        self._has_strays = False
        self._was_full = False
        self._is_turn_of_line = True
        self._left = LeftSignals(runtime, self.claim_one)
        self._way = Way(runtime, crew, sweep_s=sweep_s, on_due=self.nudge)
        self.sweeps = 0
        self.is_sweeping = False
        self._sweep_problem: str | None = None
        self._listen_problem: str | None = None
        self._dealt = Dealt()
        self.line = Line(runtime)
        runtime.on_room = self._wake_at
        runtime.on_wait = self._somebody_waits
        self.watch = StoreWatch(runtime.store, runtime.clock, runtime.tasks, on_back=self._store_came_back)

    @property
    def last_problem(self) -> str | None:
        """Why the last sweep failed, or the last look at what other processes do; None where both went well."""
        return self._sweep_problem or self._listen_problem

    async def recover_active_workflows(self) -> list[str]:
        """One sweep now; the ids of the runs it took up, in order."""
        self.is_sweeping = True
        try:
            await self._way.of_suspect(dead=self._dead)
            sweep = self._sweep() if self._deal is None else self._sweep_own()
            taken = [run_id async for run_id in sweep]
        except Exception as error:  # whatever it was: what this sweep was asked to look for is still to be looked for
            self._sweep_problem = str(error) or repr(error)
            self.strayed()
            if is_away(error):
                self.watch.trouble()
            raise
        else:
            self._sweep_problem = None
            return taken
        finally:
            self.is_sweeping = False
            self.sweeps += 1

    def nudge(self) -> None:
        """Something may be there to take up: sweep soon."""
        self._nudged.set()

    def strayed(self) -> None:
        """Runs may be ours while nobody works on them: an actor gave up on a store that was away, or the answer to a
        claim was lost; or somebody's signal lies with a run that was let go just then. Look for them soon."""
        self._has_strays = self._is_inbox_due = True
        self._runtime.alarm.at(self._runtime.store.now_s() + self._sweep_s, self.nudge)

    def gave_up(self) -> None:
        """An actor gave up on a store that was away: its run is looked for soon, and at once when the store is back."""
        self.strayed()
        self.watch.trouble()

    def _store_came_back(self) -> None:
        self._has_strays = self._is_inbox_due = True
        self.nudge()

    @property
    def has_place(self) -> bool:
        """Whether a run that is started here may be worked on at once: there is a place, and nobody waits for it."""
        return self._crew.free > 0 and not self._was_full

    @property
    def is_resting(self) -> bool:
        """Whether no sweep runs or is asked for."""
        return not self.is_sweeping and not self._nudged.is_set()

    def released(self, stored: Stored) -> None:
        """A run was let go by its actor: be there when its time comes, and see whether somebody waits for the place."""
        run = stored.run
        if self._deal is not None:
            if run.status in WORKABLE and not stored.owner:
                self._deal(run)
            return
        is_later = run.due is not None and run.due > self._runtime.store.now_s() and not run.has_work
        if run.due is not None and (run.status == "waiting" or is_later):
            self._wake_at(run.due)
        wants_place = run.status == "running" or (run.status == "suspect" and not is_later)  # one in back-off rests
        if wants_place or (self._was_full and self._crew.free > 0):
            self.nudge()

    def _somebody_waits(self) -> None:
        """Somebody here came to wait for a lock: it may be one's who finds no place, or is not tried meanwhile."""
        if self._crew.free == 0 or not self._crew.is_lonely:
            self._way.watch()

    async def keep(self) -> None:
        """Sweep for ever, whenever there is a reason."""
        while True:
            try:
                await self.recover_active_workflows()
            except HoldfastError:
                pass  # kept as `last_problem`; the next sweep is arranged
            except Exception as error:  # nothing may end this task: without it no run would ever be taken up again
                log.error("sweep failed", error=repr(error))
            await self._nudged.wait()
            self._nudged.clear()

    async def listen(self) -> None:
        """On a shared store: heed other processes' commits, and look for dead peers every `sweep_s`."""
        tick = 0
        while True:
            try:
                tick = await self._hint(tick)
                await self._heed()
                self._listen_problem = None
            except Conflict:
                continue  # there is more to heed than was read
            except Exception as error:  # nothing may end this task: without it signals from elsewhere go unheard
                self._listen_problem = str(error) or repr(error)
                self.strayed()  # what it was about to look at: its notice may be gone
                if is_away(error):
                    self.watch.trouble()
                log.warning("listening to other processes failed", error=repr(error))
                await self._runtime.clock.sleep(self._sweep_s)
            self.nudge()

    async def overhear(self) -> None:
        """Of a door that works on nothing: its watchers hear of what the engines commit."""
        tick = 0
        while True:
            with suppress(HoldfastError):  # a store that is away is looked at again after the pause
                tick = await self._runtime.store.wait(tick)
                self._runtime.look_again(but=self._crew)
            await self._runtime.clock.sleep(HINT_PAUSE_S)

    async def _hint(self, tick: int) -> int:
        await self._runtime.clock.sleep(HINT_PAUSE_S)
        pauses_left = round(self._sweep_s / HINT_PAUSE_S)  # counted, for the wall clock may be set meanwhile
        while len(self._crew) > 0 and not self._ownership.has_peers:
            # Busy and alone: the hints would be our own commits. Who else writes (a command line) can wait a moment.
            if pauses_left == 0:
                return tick
            pauses_left -= 1
            await self._runtime.clock.sleep(HINT_PAUSE_S)
        try:
            async with asyncio.timeout(self._sweep_s):
                return await self._runtime.store.wait(tick)
        except TimeoutError:
            return tick

    async def _heed(self) -> None:
        for run_id, word, epoch in await take_notices(self._runtime):
            actor = self._crew.find(run_id)
            if actor is None:
                if word == "look":
                    await self._look_at(run_id)
            elif actor.epoch < epoch:
                actor.lose()
            else:
                actor.poke()
        self._runtime.look_again(but=self._crew)

    async def _sweep(self) -> AsyncRuns:
        queues = knows(self._runtime.workflows)
        if self.is_for_suspects:
            async for run_id in self._suspects(queues):
                yield run_id
            if len(self._crew) == 0:
                self.is_over.set()
            return
        dead = await self._ownership.dead()
        self._is_inbox_due = self._is_inbox_due or not self._dead.issuperset(dead)
        self._dead = set(dead)
        if dead:
            async for run_id in self._claim_all(tuple(dead), queues, ("running", "waiting", "suspect")):
                yield run_id
        for found in (self._own, self._called):
            async for run_id in found(queues):
                yield run_id
        if not await self._are_tried_apart(queues):  # before the line: they may hold locks that all of it waits for
            async for run_id in self._suspects(queues):
                yield run_id
        async for run_id in self._turns(queues):
            yield run_id
        if self._is_inbox_due and self._crew.free > 0:
            self._is_inbox_due = False  # before the look: what comes up during it is looked for again
            async for run_id in self._left.find(queues):
                yield run_id
            self._is_inbox_due = self._is_inbox_due or self._left.is_due_again
        self._was_full = self._crew.free == 0
        if self._was_full:
            for run_id in await self._way.make(dead=self._dead, round_=self.sweeps):
                for taken in await self._take_beyond(run_id, queues):
                    yield taken
        else:  # while there is no place, what is overdue can only wait for one
            await self._plan(queues)

    async def _sweep_own(self) -> AsyncRuns:
        """Where work is dealt out: only what is ours already is looked for here, and whose turn it is for a place."""
        await self._ownership.dead()
        await self._deal_called()
        async for run_id in self._own(knows(self._runtime.workflows)):
            yield run_id

    async def _own(self, queues: tuple[str, ...]) -> AsyncRuns:
        """Forget the dead who have no runs left, and take up what is ours and has no actor."""
        for process_id in self._ownership.forgettable:
            if not await self._has_runs(process_id):
                await self._ownership.forget(process_id)
        if self._has_strays:
            for run_id in await self._strays(queues):
                yield run_id

    async def _called(self, queues: tuple[str, ...]) -> AsyncRuns:
        """Those who stand in line for a place that can be had: for at most half of the places here, so that neither
        they nor the others starve."""
        half = -(-self._crew.free // 2)
        calls = await called(self._runtime, queues, everywhere=self.sweeps == 0)
        if calls.again_at is not None:
            self._wake_at(calls.again_at)
        for actor in filter(None, (self._crew.find(run_id) for run_id in calls.at_work)):
            actor.poke()
        if calls.unowned and half:
            claim = Claim(
                kind=RUN, owner=self._runtime.process_id, from_owners=("",), limit=half, statuses=("waiting",),
                ids=tuple(key.id for key in calls.unowned[:half]),
            )  # fmt: skip
            for run_id in self._launch(await self._runtime.store.claim(Scope.system(), claim), Origin.CLAIMED):
                yield run_id

    async def _deal_called(self) -> None:
        """Say once of each place in line that its turn has come; what gets lost on the way `unclaimed` tells again."""
        calls = await called(self._runtime, knows(self._runtime.workflows))
        if calls.again_at is not None:
            self._wake_at(calls.again_at)
        for actor in filter(None, (self._crew.find(run_id) for run_id in calls.at_work)):
            actor.poke()
        for run in await self._dealt.new(self._runtime, calls):
            assert self._deal is not None
            self._deal(run)

    async def _turns(self, queues: tuple[str, ...]) -> AsyncRuns:
        """The line, and the waiting runs whose time has come. Neither can starve the other: one of them gets half of
        the places first, the other what it wants of the rest, and once it got some it is the other way round."""
        half = -(-self._crew.free // 2)
        first, second = ("running", "waiting") if self._is_turn_of_line else ("waiting", "running")
        taken = 0
        async for run_id in self._unowned(first, queues, at_most=half):
            taken += 1
            yield run_id
        if taken:  # not at each sweep: there may be a place at each second one alone
            self._is_turn_of_line = not self._is_turn_of_line
        async for run_id in self._unowned(second, queues):
            yield run_id
        if taken >= half:
            async for run_id in self._unowned(first, queues):
                yield run_id

    def _unowned(self, status: str, queues: tuple[str, ...], *, at_most: int | None = None) -> AsyncRuns:
        due_until = self._runtime.store.now_s() if status == "waiting" else None
        return self._claim_all(("",), queues, (status,), due_until=due_until, at_most=at_most)

    async def _claim_all(
        self,
        from_owners: tuple[str, ...],
        queues: tuple[str, ...],
        statuses: tuple[str, ...],
        *,
        due_until: float | None = None,
        at_most: int | None = None,
    ) -> AsyncRuns:
        batch = CLAIM_FIRST
        left = self._crew.free if at_most is None else at_most
        while (limit := min(batch, left, self._crew.free)) > 0:
            claim = Claim(
                kind=RUN,
                owner=self._runtime.process_id,
                from_owners=from_owners,
                queues=queues,
                statuses=statuses,
                due_until=due_until,
                limit=limit,
            )
            taken = await self._runtime.store.claim(Scope.system(), claim)
            faults.point("claim")
            origin = Origin.CLAIMED if from_owners == ("",) else Origin.RECOVERED
            silent_since = self._ownership.silent_since if origin is Origin.RECOVERED else None
            for run_id in self._launch(taken, origin, silent_since=silent_since):
                yield run_id
            if len(taken) < limit:
                return
            left = self._crew.free if at_most is None else left - len(taken)
            batch = min(2 * batch, CLAIM_BATCH)
            if origin is Origin.RECOVERED and not await self._crew.have_begun(taken, within_s=self._sweep_s):
                return  # the next sweep goes on; who begins more than his lease allows loses all of it
            if origin is Origin.RECOVERED and self._ownership.is_pressed:
                return

    async def _take_beyond(self, run_id: str, queues: tuple[str, ...]) -> list[str]:
        """Take up a run for which a place was lent, whether nobody owns it or one of the dead does."""
        me, taken = self._runtime.process_id, list[str]()
        for owners, origin in ((("",), Origin.CLAIMED), (tuple(self._dead), Origin.RECOVERED)):
            claim = Claim(
                kind=RUN, owner=me, from_owners=owners, queues=queues, statuses=RUNNABLE, ids=(run_id,), limit=1
            )  # fmt: skip
            if owners and not taken:
                since = self._ownership.silent_since if origin is Origin.RECOVERED else None
                taken = self._launch(await self._runtime.store.claim(Scope.system(), claim), origin, silent_since=since)
        return taken

    async def _strays(self, queues: tuple[str, ...]) -> list[str]:
        """Claim from ourselves the runs that are ours and have no actor, or one of an older epoch."""
        self._has_strays = False
        me = self._runtime.process_id
        taken: list[str] = []
        after: str | None = None
        query = Query(kind=RUN, statuses=("running", "waiting", "suspect"), queues=queues, owner=me)
        while True:
            page = await self._runtime.store.scan(Scope.system(), query, after=after, limit=CLAIM_BATCH)
            ids = tuple(record.key.id for record in page.records if self._crew.is_missing(record.key.id, record.epoch))
            if ids:
                claim = Claim(kind=RUN, owner=me, from_owners=(me,), ids=ids, limit=len(ids))
                taken += self._launch(await self._runtime.store.claim(Scope.system(), claim), Origin.CLAIMED)
            if (after := page.next) is None:
                return taken

    async def _are_tried_apart(self, queues: tuple[str, ...]) -> bool:
        """Whether suspects are no business of this process: another one sees to those that wait."""
        if self.quarantine is None or self.quarantine.why_not is not None:
            return False
        query = Query(kind=RUN, statuses=("suspect",), queues=queues, owner="")
        page = await self._runtime.store.scan(Scope.system(), query, limit=1)
        return not page.records or self.quarantine.send()

    async def _suspects(self, queues: tuple[str, ...]) -> AsyncRuns:
        """One suspect at a time: only a death in that loneliness can set a run aside."""
        if self._crew.free == 0 or not self._crew.is_lonely:
            return
        claim = Claim(
            kind=RUN, owner=self._runtime.process_id, from_owners=("",), queues=queues, statuses=("suspect",), limit=1
        )  # fmt: skip
        for run_id in self._launch(await self._runtime.store.claim(Scope.system(), claim), Origin.SUSPECT):
            actor = self._crew.find(run_id)
            if actor is not None:
                self._runtime.tasks.start(self._next_suspect(actor), name="next suspect")
            yield run_id

    async def _next_suspect(self, actor: Actor) -> None:
        await actor.has_progressed.wait()
        if self.is_for_suspects:
            await self._hand_on(actor)
        self.nudge()

    async def _hand_on(self, actor: Actor) -> None:
        """A suspect no more: nobody owns it from now on, and whoever works on the others takes it up."""
        me = self._runtime.process_id
        claim = Claim(kind=RUN, owner="", from_owners=(me,), ids=(actor.run.id,), limit=1)
        for record in await self._runtime.store.claim(Scope.system(), claim):
            self._crew.lose(record.key.id, epoch=record.epoch)

    async def look_into_inbox(self, run: Run) -> bool:
        """Take up an unowned run if a signal that was kept can be judged now; False where there is none."""
        built = self._runtime.built(run)
        if not reads_inbox(built, run):
            return False
        for signal, _ in await waiting_signals(self._runtime, run):
            if calls_for_owner(built, run, signal):
                return await self.claim_one(run)
        return False

    async def _look_at(self, run_id: str) -> None:
        """Somebody left a signal with a run that nobody owns, and could not judge it himself."""
        queues = knows(self._runtime.workflows)
        query = Query(kind=RUN, prefix=run_id, statuses=("waiting", *STILL), queues=queues, owner="")
        for record in (await self._runtime.store.scan(Scope.system(), query, limit=1)).records:
            await self.look_into_inbox(Stored.of(record).run)

    async def claim_one(self, run: Run) -> bool:
        """Claim one unowned run and start its actor; False where somebody else was first, or there is no place here."""
        if self._deal is not None:
            self._deal(run)
            return True
        if self._crew.free == 0:
            self._was_full = self._is_inbox_due = True  # the sweep at the first free place finds its signal
            return False
        claim = Claim(kind=RUN, owner=self._runtime.process_id, from_owners=("",), ids=(run.id,), limit=1)
        taken = await self._runtime.store.claim(Scope.of_user(run.tenant, run.user), claim)
        return bool(self._launch(taken, Origin.CLAIMED))

    def _launch(self, records: Iterable[Record], origin: Origin, *, silent_since: float | None = None) -> list[str]:
        launched = []
        for record in records:
            try:
                self._crew.launch(Stored.of(record), origin, silent_since=silent_since)
            except Corrupt as error:  # one unreadable run must not keep those claimed with it from running
                log.error("run cannot be read", run=record.key.id, error=error.message)
                continue
            launched.append(record.key.id)
        return launched

    async def _has_runs(self, process_id: str) -> bool:
        page = await self._runtime.store.scan(Scope.system(), Query(kind=RUN, owner=process_id), limit=1)
        return bool(page.records)

    async def _plan(self, queues: tuple[str, ...]) -> None:
        """Be awake for the earliest due time among the runs that nobody owns."""
        query = Query(kind=RUN, statuses=("waiting",), queues=queues, owner="", by_due=True)
        page = await self._runtime.store.scan(Scope.system(), query, limit=1)
        if page.records and (due := page.records[0].due) is not None:
            self._wake_at(due)

    def _wake_at(self, due: float) -> None:
        if self._appointment is not None and self._appointment.call is not None:
            if self._appointment.due <= due:
                return
            self._appointment.cancel()
        self._appointment = self._runtime.alarm.at(due, self._due)

    def _due(self) -> None:
        self._appointment = None
        self.nudge()


def is_away(error: Exception) -> bool:
    """Whether an error says of the store that it cannot be worked on, rather than of what was asked of it."""
    return isinstance(error, Unavailable | CommitUnknown)
