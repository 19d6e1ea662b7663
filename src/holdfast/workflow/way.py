"""Makes way where all places of a process are taken by runs that wait for others, which wait for a place."""

from __future__ import annotations

from collections.abc import Callable, Container

from holdfast.workflow.crew import Crew
from holdfast.workflow.locking import is_blocked_in_line
from holdfast.workflow.runtime import Runtime

ASIDE_MAX = 16
"""How many runs that wait for locks are looked at in one sweep while there is no place."""


class Way:
    """For one engine. `on_due`: called where it is time to look again, `sweep_s` seconds later."""

    def __init__(self, runtime: Runtime, crew: Crew, *, sweep_s: float, on_due: Callable[[], None]) -> None:
        self._runtime = runtime
        self._crew = crew
        self._sweep_s = sweep_s
        self._on_due = on_due
        self._is_watched = False
        self._aside: dict[str, float] = {}
        """When each run stepped aside last. One that is taken up again at once, for nobody else could be, stays for a
        while: else it would come and go without end."""

    async def make(self, *, dead: Container[str], round_: int) -> None:
        """All places are taken. Where a run in a place waits for a lock that one in line has, neither would ever go on:
        it steps aside. Whoever comes to wait so later is looked at then. `dead`: processes that will not go on."""
        waiting, now = self._crew.waiting_for_locks(), self._runtime.store.now_s()
        self._aside = {run_id: at for run_id, at in self._aside.items() if at > now - self._sweep_s}
        first = round_ * ASIDE_MAX % max(1, len(waiting))
        for actor in (waiting[first:] + waiting[:first])[:ASIDE_MAX]:
            if actor.run.id in self._aside:
                continue
            if await is_blocked_in_line(self._runtime.store, actor.run, dead=dead):
                self._aside[actor.run.id] = now
                actor.step_aside()
        if waiting and not self._is_watched:
            self._is_watched = True
            self._runtime.alarm.at(self._runtime.store.now_s() + self._sweep_s, self._look)

    def _look(self) -> None:
        self._is_watched = False
        self._on_due()
