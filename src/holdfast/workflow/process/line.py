"""The line in which runs stand that no process has a place for: each start gets its place by `fairness`.

A user's last place is a record of his own, written with the run that gets it: two starts, in whatever processes, never
get the same. Where the front is, is read from the store at most every FRESH_S; so one start in a hundred pays for it.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from holdfast import codec
from holdfast.errors import InvalidInput
from holdfast.store.contract.records import ABSENT, Key, Put, Query, Scope
from holdfast.workflow.model.fairness import BEGUN, NORMAL, front_of, next_place, served_together
from holdfast.workflow.model.run import LINE, PROCESS, RUN, Run
from holdfast.workflow.process.ownership import ProcessInfo
from holdfast.workflow.process.runtime import Runtime

FRESH_S = 0.1
"""How old the front may be that a place is judged by: who comes in meanwhile gains what is claimed in this time."""
LOOK = 32
PROCESSES_MAX = 1000
USERS_MAX = 10_000
"""Users whose last places are remembered; further ones are read again."""


class _Last:
    """A user's last place, with the version of the record that says so, as this process has it coming."""

    def __init__(self, version: int, place: float | None) -> None:
        self.version = version
        self.place = place


class Ticket(NamedTuple):
    """A run's place, and the write that must commit with it."""

    place: float
    put: Put
    last: _Last


class Line:
    """Gives out places for one engine."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._last: dict[Key, _Last] = {}
        self._fronts: dict[str, tuple[float, float]] = {}
        self._looking = asyncio.Lock()

    async def ticket(self, run: Run) -> Ticket:
        """The next place of the run's user and priority. Whoever does not come to commit it says so by `tear`."""
        key = Key(run.tenant, run.user, LINE, "runs" if run.priority == NORMAL else f"runs/{run.priority}")
        front = await self._front(run.queue)
        if key not in self._last:
            record = (await self._runtime.store.read(Scope.of_user(run.tenant, run.user), [key]))[0]
            if len(self._last) >= USERS_MAX:
                self._last.clear()
            version, place = (ABSENT, None) if record is None else (record.version, codec.decode(record.body)["last"])
            self._last.setdefault(key, _Last(version, place))
        last = self._last[key]
        expect, last.version = last.version, last.version + 1
        last.place = next_place(last.place, front=front, priority=run.priority)
        return Ticket(last.place, Put(key=key, body=codec.encode({"last": last.place}), expect=expect), last)

    def tear(self, ticket: Ticket) -> None:
        """The ticket was not used, or another process gave out the place: read anew where the user's last one is."""
        if self._last.get(ticket.put.key) is ticket.last:
            del self._last[ticket.put.key]

    async def _front(self, queue: str) -> float:
        clock = asyncio.get_running_loop().time
        async with self._looking:
            known = self._fronts.get(queue)
            if known is not None and clock() - known[0] < FRESH_S:
                return known[1]
            store = self._runtime.store
            page = await store.scan(Scope.system(), Query(kind=PROCESS), limit=PROCESSES_MAX)
            served = [_queues(record.body) for record in page.records if (record.due or BEGUN) > store.now_s()]
            query = Query(
                kind=RUN, statuses=("running",), queues=served_together(queue, served), owner="", by_due=True
            )  # fmt: skip
            first = (await store.scan(Scope.system(), query, limit=LOOK)).records
            front = front_of(
                [record.due for record in first], known=None if known is None else known[1], now=store.now_s()
            )
            self._fronts[queue] = (clock(), front)
            return front


def _queues(body: bytes) -> tuple[str, ...]:
    try:
        return codec.decode(body, ProcessInfo, what="process lease").queues
    except InvalidInput:  # damaged, or no lease: `doctor` tells
        return ()
