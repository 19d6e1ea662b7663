"""Starts the runs of schedules: one for each due time, whatever the number of processes.

A schedule is a record whose due time is the next. Whoever finds it due writes the run, and the time after it, in one
change that expects the record's version: one process wins, and there is no moment between the two. Everybody sleeps
until the next due time; nothing is asked meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from holdfast import codec
from holdfast.errors import Conflict
from holdfast.logs import get_logger
from holdfast.store.contract.records import ABSENT, Change, Delete, Key, Put, Query, Record, Scope
from holdfast.store.rows.blobs import BLOB_BYTES_MAX
from holdfast.workflow.decisions import begin
from holdfast.workflow.decisions.chunks import with_input
from holdfast.workflow.model.build import Built
from holdfast.workflow.model.run import RUN, queue_of, ticket_key
from holdfast.workflow.model.schedule import SCHEDULE, Schedule
from holdfast.workflow.model.scheduling import (
    ACTIVE,
    PAUSED,
    ScheduleState,
    next_due,
    ticket_of,
    turn,
)
from holdfast.workflow.process.runtime import Runtime
from holdfast.workflow.recovery.handover import Handover

RETRY_S = 5.0
"""The pause after a look at a schedule that failed."""
AT_WORK = ("running", "waiting", "suspect", "paused")
"""Statuses of a run that another one would overlap."""

log = get_logger("holdfast.schedules")


class Scheduler:
    """Keeps the schedules that the workflows of one engine declare. `problems` is where it tells what went wrong."""

    def __init__(self, runtime: Runtime, handover: Handover, problems: dict[str, str]) -> None:
        self._runtime = runtime
        self._handover = handover
        self._problems = problems

    async def begin(self) -> None:
        """Make the records say what the code says, and keep each schedule from now on."""
        for built in self._newest():
            await self._forget_others(built)
            for schedule in built.schedules:
                await self._adopt(built, schedule)
                name = f"schedule {built.name}/{schedule.name}"
                self._runtime.tasks.start(self._keep(built, schedule, name), name=name)

    def _newest(self) -> Iterator[Built]:
        known = self._runtime.workflows.values()
        for built in known:
            if built.version == max(other.version for other in known if other.name == built.name):
                yield built

    async def _adopt(self, built: Built, schedule: Schedule) -> None:
        """New timing begins at its own next due time; what is paused stays so. Newer code's word stands."""
        key = schedule.key(built.name)
        fresh = ScheduleState(
            workflow=built.name,
            version=built.version,
            name=schedule.name,
            timing=schedule.timing,
            policy=schedule.policy,
        )
        record = (await self._runtime.store.read(Scope.system(), [key]))[0]
        first = next_due(schedule.timing, self._runtime.store.now_s())
        if record is None:
            await self._write(_put(key, fresh, ACTIVE, first, ABSENT))
            return
        old = state_of(record)
        adopted = replace(fresh, started=old.started, dropped=old.dropped, last_due=old.last_due, last_run=old.last_run)
        if old.version > built.version or old == adopted:
            return
        due = record.due if old.timing == schedule.timing and record.due is not None else first
        await self._write(_put(key, adopted, record.status, due, record.version))

    async def _forget_others(self, built: Built) -> None:
        """Schedules that the code of this or an older version declared once, and no more."""
        declared = {schedule.key(built.name) for schedule in built.schedules}
        query = Query(kind=SCHEDULE, labels={"workflow": built.name})
        page = await self._runtime.store.scan(Scope.system(), query, limit=1000)
        for record in page.records:
            if record.key not in declared and state_of(record).version <= built.version:
                await self._write(Delete(key=record.key, expect=record.version))

    async def _keep(self, built: Built, schedule: Schedule, name: str) -> None:
        """Until other code has taken the schedule over."""
        wait_s: float | None = 0.0
        while wait_s is not None:
            await self._runtime.clock.sleep(wait_s)
            try:
                wait_s = await self._look(built, schedule)
                self._problems.pop(name, None)
            except Exception as error:  # nothing may end this task: without it no run would begin any more
                self._problems[name] = str(error) or repr(error)
                log.warning("schedule failed", schedule=name, error=repr(error))
                wait_s = RETRY_S

    async def _look(self, built: Built, schedule: Schedule) -> float | None:
        """Start the run that is due, if one is; the seconds until the next due time. None: it is not ours any more."""
        record = (await self._runtime.store.read(Scope.system(), [schedule.key(built.name)]))[0]
        if record is None or record.due is None or (state := state_of(record)).version != built.version:
            return None
        now = self._runtime.store.now_s()
        found = turn(state.timing, state.policy, record.due, now)
        if record.due <= now:
            try:
                await self._take(built, schedule, record, start=found.start, due=found.next_due, dropped=found.dropped)
            except Conflict:
                return 0.0  # somebody else was first
        return max(0.0, found.next_due - self._runtime.store.now_s())

    async def _take(
        self, built: Built, schedule: Schedule, record: Record, *, start: float | None, due: float, dropped: int
    ) -> None:
        """Write the next due time and, in the same change, the run of this one."""
        state = state_of(record)
        if start is not None and (record.status == PAUSED or await self._would_overlap(record.key, state)):
            start, dropped = None, dropped + 1
        left_out = replace(state, dropped=state.dropped + dropped)
        if start is None:
            await self._runtime.commit(
                Scope.system(), self._change(_put(record.key, left_out, record.status, due, record.version))
            )
            return
        run_id = self._runtime.run_id()
        first = begin.begin(
            built,
            run_id=run_id,
            ticket_id=ticket_of(schedule.name, start),
            tenant=schedule.tenant,
            user=schedule.user,
            data=begin.first_data(built, None),
            by=f"schedule {schedule.name}",
            labels={SCHEDULE: schedule.name},
            now=self._runtime.store.now_s(),
        )
        what = f"input of schedule {schedule.name}"
        run, chunks = with_input(first.run, codec.encode(schedule.input_at(start), what=what, bytes_max=BLOB_BYTES_MAX))
        started = replace(left_out, started=state.started + 1, last_due=start, last_run=run_id)
        put = _put(record.key, started, record.status, due, record.version)
        try:
            await self._handover.begin(replace(first, run=run), extra=(begin.ticket_put(run), put, *chunks))
        except Conflict as conflict:
            if conflict.facts.get("key") != ticket_key(run):
                raise
            # The run of this due time is there, from before the record was made anew.
            await self._runtime.commit(Scope.system(), self._change(replace(put, body=codec.encode(left_out))))

    async def _would_overlap(self, key: Key, state: ScheduleState) -> bool:
        if state.policy.overlap != "skip" or not state.last_run:
            return False
        (run,) = await self._runtime.store.read(Scope.system(), [Key(key.tenant, key.user, RUN, state.last_run)])
        return run is not None and run.status in AT_WORK

    async def _write(self, write: Put | Delete) -> None:
        try:
            await self._runtime.commit(Scope.system(), self._change(write))
        except Conflict:
            return  # another process of the same deployment wrote the same

    def _change(self, write: Put | Delete) -> Change:
        return Change(change_id=self._runtime.change_id(), writes=(write,))


def state_of(record: Record) -> ScheduleState:
    """What the record of a schedule says. Raises InvalidInput where it says something else."""
    return codec.decode(record.body, ScheduleState, what=f"schedule {record.key.id}")


def paused(record: Record, *, is_paused: bool) -> Put:
    """The write that pauses a schedule, or lets it go on. Its due times pass meanwhile, without runs."""
    return _put(record.key, state_of(record), PAUSED if is_paused else ACTIVE, record.due, record.version)


def _put(key: Key, state: ScheduleState, status: str, due: float | None, expect: int) -> Put:
    return Put(
        key=key,
        body=codec.encode(state),
        expect=expect,
        status=status,
        due=due,
        queue=queue_of(state.workflow, state.version),
        labels={"workflow": state.workflow},
    )
