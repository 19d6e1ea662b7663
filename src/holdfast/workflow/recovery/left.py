"""Signals that were left with a run while nobody had it: found by a sweep, for whoever let it go died just then."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from holdfast.errors import Corrupt
from holdfast.logs import get_logger
from holdfast.store.contract.records import Key, Query, Record, Scope
from holdfast.workflow.decisions.admission import calls_for_owner
from holdfast.workflow.decisions.signals import EARLY, NEW
from holdfast.workflow.model.run import RUN, SIGNAL, Run, decode_signal
from holdfast.workflow.process.inbox import refuse_rest
from holdfast.workflow.process.runtime import Runtime, Stored, knows

PAGE = 500
UNREADABLE_MAX = 1000
"""Runs of which it is told, once, that they or their signals cannot be read."""

log = get_logger("holdfast.recovery")


class LeftSignals:
    """For one engine. `claim_one`: takes up a run that nobody has."""

    def __init__(self, runtime: Runtime, claim_one: Callable[[Run], Awaitable[bool]]) -> None:
        self._runtime = runtime
        self._claim_one = claim_one
        self._unreadable: dict[str, str] = {}
        self.is_due_again = False
        """Whether something could not be judged that may be later: somebody may repair it."""

    async def find(self, queues: tuple[str, ...]) -> AsyncIterator[str]:
        """The runs that were taken up for a signal in their inbox."""
        self.is_due_again = False
        taken = set[str]()
        after: str | None = None
        query = Query(kind=SIGNAL, statuses=(NEW, EARLY), queues=queues)
        while True:
            page = await self._runtime.store.scan(Scope.system(), query, after=after, limit=PAGE)
            for record in page.records:
                run_id = record.key.id.partition("/")[0]
                if run_id not in taken and await self._is_taken(record, run_id):
                    taken.add(run_id)
                    yield run_id
            if page.next is None:
                return
            after = page.next

    async def _is_taken(self, record: Record, run_id: str) -> bool:
        try:
            return await self._take(record, run_id)
        except Corrupt as error:  # one unreadable signal or run must not keep the others from being judged
            self.is_due_again = True
            if self._unreadable.get(run_id) != error.message and len(self._unreadable) < UNREADABLE_MAX:
                self._unreadable[run_id] = error.message
                log.error("signal cannot be judged", run=run_id, error=error.message)
            return False

    async def _take(self, record: Record, run_id: str) -> bool:
        key = Key(record.key.tenant, record.key.user, RUN, run_id)
        found = (await self._runtime.store.read(Scope.system(), [key]))[0]
        if found is None or found.owner:
            return False
        run = Stored.of(found).run
        if run.queue not in knows(self._runtime.workflows):
            return False  # migrated since the signal was sent, to a version that this process does not know
        if run.is_ended:  # and whoever ended it did not come to say so
            await refuse_rest(self._runtime, run)
            return False
        if not calls_for_owner(self._runtime.built(run), run, decode_signal(record.body)):
            return False
        return await self._claim_one(run)
