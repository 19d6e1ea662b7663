"""One actor per owned run: it alone decides and commits; handlers only return results.

It lives while its process owns the run and something is to be done. What it commits last before it ends releases the
run: from then on the run is rows, and a signal or a due time brings it back, here or elsewhere.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque

from msgspec.structs import replace

from holdfast import codec
from holdfast.chart import shown
from holdfast.context import UserExecutionContext
from holdfast.errors import CommitUnknown, Conflict, Fenced, InvalidInput, Unavailable, WorkflowError
from holdfast.locks import lock_key
from holdfast.store.contract.records import Claim, Delete, Key, Put, Scope
from holdfast.workflow.actors.memos import Memos, Visit
from holdfast.workflow.actors.steps import RunContext
from holdfast.workflow.decisions import mishaps
from holdfast.workflow.decisions import occurrences as on
from holdfast.workflow.decisions.admission import Verdict, admit, calls_for_owner, is_active, reads_inbox
from holdfast.workflow.decisions.decision import Decision, Row
from holdfast.workflow.decisions.due import due_now
from holdfast.workflow.decisions.failure import failure_of
from holdfast.workflow.decisions.family import occurrence_of
from holdfast.workflow.decisions.locking import holder_of
from holdfast.workflow.decisions.signals import EARLY, NEW, REFUSED, TAKEN, signal_put
from holdfast.workflow.model.definition import DONE
from holdfast.workflow.model.fairness import BEGUN
from holdfast.workflow.model.run import RUN, RUNNABLE, Leaf, Run, where_of
from holdfast.workflow.process.alarm import Appointment
from holdfast.workflow.process.inbox import answer, refuse_rest, tell_refused, waiting_signals
from holdfast.workflow.process.large import whole
from holdfast.workflow.process.placing import look_at_waits
from holdfast.workflow.process.runtime import Runtime, Stored, current_visit


class Origin(enum.Enum):
    """How a run came to its actor: just started here; claimed while nobody owned it, so that memos may exist; taken
    over from a dead owner; or taken alone, as a suspect of killing its owners."""

    STARTED = "started"
    CLAIMED = "claimed"
    RECOVERED = "recovered"
    SUSPECT = "suspect"


class Actor:
    """`deaths_max`: how many deaths without progress set a suspect aside; `silent_since`: when a dead owner was last
    heard of, None where that is not known."""

    def __init__(
        self, runtime: Runtime, stored: Stored, origin: Origin, *, deaths_max: int, silent_since: float | None = None
    ) -> None:
        self._runtime = runtime
        self._stored = stored
        self._built = runtime.built(stored.run)
        self._origin = origin
        self._deaths_max = deaths_max
        self._silent_since = silent_since
        self._queue: deque[on.Occurrence] = deque()
        self._wake = asyncio.Event()
        self._visits: dict[str, Visit] = {}
        self._appointment: Appointment | None = None
        self._watched: dict[str, tuple[tuple[Key, ...], str]] = {}
        self._inherited_waits: set[str] = set()
        self._lock_due: float | None = None
        self._memos: dict[str, tuple[int, Memos]] = {}
        self._first_visits = {path: leaf.visit for path, leaf in stored.run.leaves.items()}
        self._is_inbox_due = origin is not Origin.STARTED
        self._is_lost = False
        self._is_resting = False
        self._steps_aside = False
        self.has_begun = asyncio.Event()
        self.has_progressed = asyncio.Event()

    @property
    def run(self) -> Run:
        return self._stored.run

    @property
    def stored(self) -> Stored:
        """The run as this actor last committed or read it."""
        return self._stored

    @property
    def is_lost(self) -> bool:
        """Whether somebody else owns the run now, so that what is `stored` here is the past."""
        return self._is_lost

    @property
    def is_resting(self) -> bool:
        """Whether nothing happens here before time passes or somebody sends something."""
        return self._is_resting and not self._wake.is_set() and not self._visits

    @property
    def handlers(self) -> list[str]:
        """The visits whose handlers are at work, named as `current_visit` names them."""
        return [visit.name for visit in self._visits.values() if not visit.task.done()]

    @property
    def epoch(self) -> int:
        return self._stored.epoch

    def poke(self) -> None:
        """Something may have changed outside: look at the inbox and the locks again."""
        self._is_inbox_due = True
        self._wake.set()

    @property
    def waits_for_locks(self) -> bool:
        """Whether no handler works here, or will before a lock is granted."""
        leaves = self.run.leaves.values()
        return not self._visits and any(leaf.phase == "locking" for leaf in leaves)

    def step_aside(self) -> None:
        """Somebody who has no place is waited for here: let the run go, behind all who stand in line."""
        self._steps_aside = True
        self._wake.set()

    def lose(self) -> None:
        """Somebody else owns the run now: stop, write nothing more."""
        self._is_lost = True
        self._wake.set()

    async def live(self) -> None:
        """Until the run is released, has ended, or was lost to another owner."""
        try:
            await self._begin()
            self.has_begun.set()
            while not self._is_lost:
                occurrence = await self._next()
                if occurrence is not None:
                    await self._judge(occurrence)
                elif self._is_idle():
                    await self._give_back()
                    while not await self._reclaim():
                        if not self._is_inbox_due:
                            return
        except Fenced:
            self._is_lost = True  # the run moved on without us: whoever moved it goes on
        except (Unavailable, CommitUnknown, Conflict):
            raise  # of the moment: the run is taken up anew
        except Exception as error:  # the boundary of a run: what would come again wherever it is taken up ends it
            await self._set_down(error)
            raise
        finally:
            self.has_begun.set()
            self._end()
            if self._is_lost:
                self._runtime.look_at(self.run.id)

    # -- what to judge next -------------------------------------------------------------------------------------

    async def _next(self) -> on.Occurrence | None:
        """The next occurrence; None when there is nothing to wait for."""
        while not self._is_lost:
            if self._queue:
                return self._queue.popleft()
            due = due_now(self.run, self._runtime.store.now_s())
            if due is not None and (self.run.status in RUNNABLE or self._can_work()):
                return self._drawn(due)
            if self._is_inbox_due:
                self._is_inbox_due = False
                if (found := await self._look_outside()) is not None:
                    return found
                continue
            if self._is_idle():
                return None
            self._set_alarm()
            self._wake.clear()
            self._is_resting = True
            await self._wake.wait()
            self._is_resting = False
        return None

    def _drawn(self, due: on.Occurrence) -> on.Occurrence:
        """`due` with chance for its back-off. Chance is drawn only where it is used: it is a system call, and to get
        Python's lock back from a busy writer took 68 us each time, twice a run."""
        if isinstance(due, on.AttemptOverdue):
            return replace(due, draw=self._runtime.randomness.random())
        if isinstance(due, on.Unparked):
            return self._runtime.needs.stop_alone(self._built, due.leaf, self.run.leaves[due.leaf]) or due
        return due

    async def _look_outside(self) -> on.Occurrence | None:
        limits = None if self._runtime.is_draining else self._runtime.placer.limits
        found, self._lock_due = await look_at_waits(self._runtime.store, self.run, limits)
        if found is not None:
            return self._with_new_token(found)
        is_still = self.run.status not in RUNNABLE
        if not reads_inbox(self._built, self.run) or (is_still and self.run.parent is None) or self.run.is_ended:
            return None
        for waiting in await waiting_signals(self._runtime, self.run):
            verdict, reason = admit(self._built, self.run, waiting.signal)
            if is_still and not calls_for_owner(self._built, self.run, waiting.signal):
                continue
            if verdict is Verdict.NOW:
                self._is_inbox_due = True
                return occurrence_of(self.run, waiting.signal, waiting.record.version)
            if verdict is Verdict.REFUSED:
                await answer(self._runtime, self.run, waiting, REFUSED, reason)
            elif waiting.record.status == NEW:
                await answer(self._runtime, self.run, waiting, EARLY, "kept until its state is entered")
        return None

    def _is_idle(self) -> bool:
        has_work = self._can_work() and self.run.has_work and not (self._steps_aside and self.waits_for_locks)
        return not self._visits and not has_work and not self._queue

    def _set_alarm(self) -> None:
        due = min((at for at in (self.run.due, self._lock_due) if at is not None), default=None)
        call = self.poke if due is not None and due == self._lock_due else self._wake.set
        if self._appointment is not None:
            if self._appointment.due == due and self._appointment.call == call:
                return
            self._appointment.cancel()
            self._appointment = None
        if due is not None:
            self._appointment = self._runtime.alarm.at(due, call)

    # -- deciding and committing --------------------------------------------------------------------------------

    async def _judge(self, occurrence: on.Occurrence) -> None:
        if self._runtime.is_cold:
            self._stored = await self._runtime.reread(self._stored)
        now = self._runtime.store.now_s()
        decision = mishaps.judged(self._built, self.run, occurrence, now=now)
        if not decision.reason:
            extra, notes = self._written_along(occurrence, decision)
            try:
                await self._carry_out(replace(decision, rows=notes + decision.rows), extra)
                return
            except (InvalidInput, WorkflowError) as error:  # it cannot be stored, or a child begun, however often tried
                decision = mishaps.failed_by(self._built, self.run, occurrence, failure_of(error), now=now)
        if decision.reason:
            await tell_refused(self._runtime, self.run, occurrence, decision.reason)
        else:
            await self._carry_out(decision)

    async def _carry_out(self, decision: Decision, extra: tuple[Put | Delete, ...] = ()) -> None:
        self._stored, decision = await self._runtime.commit_decision(
            self._stored,
            decision,
            owner="" if self._must_wait_alone(decision) else self._runtime.process_id,
            guard=True,
            extra=extra,
            asks=self._may_work(decision.run),
            blobless=[path for path, leaf in decision.left if self._is_blobless(path, leaf)],
        )
        self._act(decision)
        if self.run.status != "suspect":
            self.has_progressed.set()

    async def _set_down(self, error: Exception) -> None:
        """The run cannot be worked on, here or elsewhere: stop it as failed, with the reason, if it is still ours."""
        if self._stored.owner == self._runtime.process_id and not self.run.is_ended:
            await self._carry_out(mishaps.set_down(self.run, failure_of(error)))

    def _written_along(
        self, occurrence: on.Occurrence, decision: Decision
    ) -> tuple[tuple[Put | Delete, ...], tuple[Row, ...]]:
        """The memos and notes that a handler still held, and a signal that is taken."""
        if isinstance(occurrence, on.Signalled):
            taken = replace(occurrence.signal, answer=where_of(decision.run))
            now = self._runtime.store.now_s()
            return (signal_put(self.run, taken, TAKEN, expect=occurrence.record_version, now=now),), ()
        path = getattr(occurrence, "leaf", "")
        visit = self._visits.get(path)
        if visit is None:
            return (), ()
        held, notes = visit.memos.take_held()
        is_over = any(left == path for left, _ in decision.left)
        return (() if is_over else tuple(held)), tuple(notes)

    def _act(self, decision: Decision) -> None:
        """Only after the commit: end the handlers that are over, start those that were entered."""
        if any(is_active(self._built, self.run, path) for paths in self._built.acceptors.values() for path in paths):
            self._is_inbox_due = True
        for path in decision.stopped:
            self._stop(path)
        for path in tuple(self._visits):
            is_anew = path in decision.entered and path in self.run.leaves and self.run.leaves[path].phase != "queuing"
            if self._visits[path].task.done() and (not is_anew or self._runtime.is_draining):
                del self._visits[path]
        for path in decision.entered:
            leaf = self.run.leaves.get(path)
            if leaf is None or not self._can_work():
                continue
            if leaf.phase == "working":
                self._unwatch(path)
                self._start(path, leaf)
            elif leaf.phase == "locking":
                self._watch(path, leaf)
            elif leaf.phase == "asking":
                self._queue.append(self._runtime.needs.asked(self._built, path, leaf))
        if not self._can_work() and self.run.status not in RUNNABLE:
            for path in tuple(self._visits):
                self._stop(path)

    # -- handlers -----------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        """Take up whatever the run stands at; after a death, count it first."""
        if self.run.configuration.chart_hash != self._built.chart.hash or self.run.version != self._built.version:
            await self._judge(on.Moved(version=self._built.version, states=self._mapping()))
        if self._is_inherited:
            found = [await self._memos_of(path, leaf).load() for path, leaf in self.run.leaves.items()]
            if self._origin is Origin.RECOVERED:
                await self._judge_death(memos=sum(found))
        if self.run.status in RUNNABLE and not self._runtime.is_draining:
            self._queue.extend(self._runtime.needs.news(self._built, self.run))
        if not self._can_work():
            return
        if self._origin is not Origin.STARTED and any(leaf.deadline_at for leaf in self.run.leaves.values()):
            await self._judge(on.TakenUp())  # a time in which nobody worked is not the attempt's
        for path, leaf in self.run.leaves.items():
            if leaf.locks and self._must_ask_anew(leaf):
                self._queue.append(on.LockLost(leaf=path, visit=leaf.visit))
            elif leaf.phase == "asking":
                self._queue.append(self._runtime.needs.asked(self._built, path, leaf))
            elif self._must_ask_anew(leaf) and self._built.spec_of(path).limits:
                self._queue.append(on.PlaceLost(leaf=path, visit=leaf.visit))
            elif leaf.phase == "working":
                self._start(path, leaf)
            elif leaf.phase == "locking":
                if self._is_inherited:
                    self._inherited_waits.add(path)
                self._watch(path, leaf)

    async def _judge_death(self, *, memos: int) -> None:
        since, now_s = self._silent_since, self._runtime.store.now_s
        died = on.Died(
            memos=memos,
            was_alone=self.run.status == "suspect",
            deaths_max=self._deaths_max,
            silent_s=None if since is None else now_s() - since,
        )
        await self._judge(died)
        if since is not None:
            self._runtime.silences.add(now_s() - since)

    def _can_work(self) -> bool:
        """Whether handlers may begin here. While the process drains, those at work end and no others begin."""
        return self._may_work(self.run)

    def _may_work(self, run: Run) -> bool:
        if self._runtime.is_draining:
            return False
        return run.status == "running" or (run.status == "suspect" and self._origin is Origin.SUSPECT)

    def _must_ask_anew(self, leaf: Leaf) -> bool:
        """Whether a handler of somebody else's may have the lock's token still: the one begun here gets a higher."""
        return leaf.phase == "working" and self._origin is not Origin.STARTED

    def _with_new_token(self, found: on.Occurrence) -> on.Occurrence:
        """What was found in the locks. What a run was granted that waited when its owner died is asked for once more
        when its turn has come, and no sooner: else a death would cost a commit for each one in line."""
        if isinstance(found, on.LockGranted) and found.leaf in self._inherited_waits:
            self._inherited_waits.discard(found.leaf)
            return on.LockLost(leaf=found.leaf, visit=found.visit)
        return found

    @property
    def _is_inherited(self) -> bool:
        """Whether the run was last worked on by a process that died: what it held must be asked for anew."""
        return self._origin in (Origin.RECOVERED, Origin.SUSPECT)

    def _must_wait_alone(self, decision: Decision) -> bool:
        """A suspect that was not taken alone is put back in line until its turn comes."""
        return decision.run.status == "suspect" and self._origin is not Origin.SUSPECT

    def _mapping(self) -> dict[str, str]:
        return dict(self._built.migrations.get(self.run.version, {}))

    def _memos_of(self, path: str, leaf: Leaf) -> Memos:
        known = self._memos.get(path)
        if known is None or known[0] != leaf.visit:
            known = self._memos[path] = (leaf.visit, Memos(self._runtime, self.run, path, leaf))
        known[1].epoch = self.epoch
        return known[1]

    def _is_blobless(self, path: str, leaf: Leaf) -> bool:
        """Whether it is known here that the visit has no chunks."""
        known = self._memos.get(path)
        return known is not None and known[0] == leaf.visit and not known[1].may_have_blobs

    def _start(self, path: str, leaf: Leaf) -> None:
        if (parked := self._runtime.needs.stop(self._built, path, leaf)) is not None:
            self._queue.append(parked)
            self._wake.set()
            return
        is_new = self._origin is Origin.STARTED or leaf.visit != self._first_visits.get(path)
        memos = self._memos_of(path, leaf)
        if is_new:
            memos.begin_new()
        task = self._runtime.tasks.start(self._work(path, leaf, memos, is_new), name=f"{self.run.id} {path}")
        self._visits[path] = Visit(leaf.visit, holder_of(self.run, path, leaf), task, memos)

    async def _work(self, path: str, leaf: Leaf, memos: Memos, is_new: bool) -> None:
        """One attempt of a handler: whatever comes of it becomes an occurrence."""
        run, spec = self.run, self._built.spec_of(path)
        assert spec.handler is not None
        current_visit.set(holder_of(run, path, leaf))
        occurrence: on.Occurrence
        try:
            if not is_new and not memos.is_whole:
                await memos.load()
            data = self._built.decode_data(run.data)
            before = codec.encode(data)
            user = UserExecutionContext(user=run.user, tenant=run.tenant, run=run.id)
            shown_run = await whole(self._runtime, run) if run.blobs else run
            context = RunContext(self._runtime, shown_run, path, leaf, memos, data, user)
            outcome = await spec.handler(context)
            memos.rest()
            await memos.landed()  # a memo that came after the transition would belong to nobody
            after = codec.encode(context.data, what=f"data of run {run.id} after {shown(path)}")
            base = bytes(run.data)
            occurrence = on.Finished(
                leaf=path,
                visit=leaf.visit,
                outcome=DONE if outcome is None else str(outcome),
                data=base if after == before else after,
                base=base,
            )
        except (Exception, asyncio.CancelledError) as error:  # the step boundary: what a handler raises is its failure
            if isinstance(error, asyncio.CancelledError) and _is_being_cancelled():
                raise
            if isinstance(error, Fenced) and error.facts.get("key") == run.key:
                self.lose()
                return
            occurrence = self._runtime.needs.stop(self._built, path, leaf, error) or on.Failed(
                leaf=path, visit=leaf.visit, failure=failure_of(error), draw=self._runtime.randomness.random()
            )
        visit = self._visits.get(path)
        if visit is not None and visit.task is asyncio.current_task():  # else another attempt is under way by now
            self._queue.append(occurrence)
            self._wake.set()

    def _stop(self, path: str) -> None:
        self._unwatch(path)
        visit = self._visits.pop(path, None)
        if visit is not None:
            visit.task.cancel()
            self._queue = deque(item for item in self._queue if not on.is_result_of(item, path))

    def _watch(self, path: str, leaf: Leaf) -> None:
        self._unwatch(path)
        keys = tuple(dict.fromkeys(lock_key(self.run.tenant, lock.kind, lock.name) for lock in leaf.locks))
        holder = holder_of(self.run, path, leaf)
        self._watched[path] = (keys, holder)
        self._runtime.lookout.watch(keys, holder, self.poke)
        self._runtime.on_wait()
        self.poke()

    def _unwatch(self, path: str) -> None:
        keys, holder = self._watched.pop(path, ((), ""))
        self._runtime.lookout.unwatch(keys, holder, self.poke)

    def _end(self) -> None:
        if self._appointment is not None:
            self._appointment.cancel()
        for path in (*self._visits, *self._watched):
            self._stop(path)

    async def _give_back(self) -> None:
        """A run that was taken up for what led to no decision is still ours: let it go, or nobody minds its timers."""
        if self._is_lost or self._stored.owner != self._runtime.process_id:
            return
        is_aside, self._steps_aside = self._steps_aside, False
        place = self._runtime.store.now_s() if is_aside else BEGUN
        self._stored = await self._runtime.give_back(self._stored, place=place)

    async def _reclaim(self) -> bool:
        """Released: but a signal may have come in just before. True if there is one and the run is ours again."""
        self._is_inbox_due = False  # before the look: whoever pokes during it may have sent what it did not see
        if self.run.is_ended and not self._is_lost:
            await refuse_rest(self._runtime, self.run)
        if self.run.is_ended or not reads_inbox(self._built, self.run):
            return False
        waiting = await waiting_signals(self._runtime, self.run)
        if not any(calls_for_owner(self._built, self.run, item.signal) for item in waiting):
            return False
        claim = Claim(kind=RUN, owner=self._runtime.process_id, from_owners=("",), ids=(self.run.id,), limit=1)
        taken = await self._runtime.store.claim(Scope.of_user(self.run.tenant, self.run.user), claim)
        if not taken:
            return False
        self._stored = Stored.of(taken[0])
        self._is_inbox_due = True
        return True


def _is_being_cancelled() -> bool:
    """Whether this task was told to end, rather than something that it awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
