"""Lets parked runs go on when what they wait for is well: in order, in waves no bigger than it takes.

Each process looks by its own breakers. Whose claim wins works on the run, so it does not matter how many look.
"""

from __future__ import annotations

import asyncio

from holdfast.errors import Corrupt, HoldfastError
from holdfast.resilience.dependencies import Dependencies, DependencyEvent
from holdfast.resilience.rules import is_down
from holdfast.store.contract.records import Query, Record, Scope
from holdfast.workflow.decisions.parking import WAVE_S, Wave, wave
from holdfast.workflow.model.run import PARKED, RUN, Run, decode_run
from holdfast.workflow.process.runtime import Runtime, knows
from holdfast.workflow.recovery.recovery import RecoveryManager

LOOK_S = 30.0
"""How long to wait at most, where nothing says that something has changed."""

UNREADABLE_MAX = 16
"""How many damaged runs may stand before the others: `doctor` and the sweep tell of them."""


class Attendant:
    """Looks after the parked runs of one engine."""

    def __init__(
        self, runtime: Runtime, recovery: RecoveryManager, dependencies: Dependencies, problems: dict[str, str]
    ) -> None:
        self._runtime = runtime
        self._recovery = recovery
        self._dependencies = dependencies
        self._problems = problems
        self._waited_for = set(dependencies.graph.order)
        """On which of them runs may be parked: all at first, for others may have left some."""
        self._next_at: dict[str, float] = {}
        """When the next wave to each of them may go, whatever is heard meanwhile."""
        self._nudged = asyncio.Event()

    async def keep(self) -> None:
        """Until the engine ends."""
        loop = asyncio.get_running_loop()

        def hear(event: DependencyEvent) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._heard, event.name)

        end = self._dependencies.listen(hear)
        self._runtime.needs.on_parked = self._heard
        try:
            while True:
                self._nudged.clear()
                wait_s = await self._look()
                await self._until_nudged(wait_s)
        finally:
            end()

    def _heard(self, name: str) -> None:
        self._waited_for.add(name)
        self._nudged.set()

    async def _until_nudged(self, seconds: float) -> None:
        sleeping = self._runtime.tasks.start(self._runtime.clock.sleep(seconds), name="next wave")
        nudged = self._runtime.tasks.start(self._nudged.wait(), name="news of a dependency")
        try:
            await asyncio.wait([sleeping, nudged], return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            nudged.cancel()

    async def _look(self) -> float:
        """Let the next waves go on; the seconds until the next look."""
        waits = [LOOK_S]
        try:
            names = [name for name in self._dependencies.graph.order if name in self._waited_for]
            waits += [await self._let_go(name) for name in names]
        except HoldfastError as error:
            self._problems["parking"] = error.message
        else:
            self._problems.pop("parking", None)
        return min(waits)

    async def _let_go(self, name: str) -> float:
        """One wave of those that wait for `name`, if it may go by now; the seconds until the next one may."""
        now = self._runtime.clock.time_s()
        if (left := self._next_at.get(name, now) - now) > 0:
            return left
        stop = self._dependencies.stops([name])
        if stop is not None:
            return max(WAVE_S, min(stop.retry_after_s or LOOK_S, LOOK_S))
        way = [self._dependencies.breaker(each).look() for each in (name, *self._dependencies.graph.below(name))]
        is_probe = any(is_down(view.state) for view in way)
        size, next_s = Wave(1, WAVE_S) if is_probe else wave([view.pace for view in way if view.pace is not None])
        query = Query(
            kind=RUN,
            statuses=("waiting",),
            queues=knows(self._runtime.workflows),
            owner="",
            labels={PARKED: name},
            by_due=True,
        )
        page = await self._runtime.store.scan(Scope.system(), query, limit=size + UNREADABLE_MAX)
        runs = [run for record in page.records if (run := _readable(record)) is not None][:size]
        for run in runs:
            await self._recovery.claim_one(run)
        if not runs:
            if not is_probe:
                self._waited_for.discard(name)
            return LOOK_S  # whoever comes to wait, and what comes back, is told of
        self._next_at[name] = now + next_s
        return next_s


def _readable(record: Record) -> Run | None:
    """The run, or None where its bytes are none: it must not keep the others waiting."""
    try:
        return decode_run(record.body)
    except Corrupt:
        return None
