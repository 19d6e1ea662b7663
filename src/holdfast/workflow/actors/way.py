"""Makes way where all places of a process are taken by runs that wait for others, which wait for a place.

A run that waits for the locks of a state has nothing at work: it steps aside. One whose handler waits in a block cannot
be put away, and does not use its place: it lends it, to the one it waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import TypeVar

from holdfast.workflow.actors.actor import Actor
from holdfast.workflow.actors.crew import Crew
from holdfast.workflow.decisions.locking import holder_without_place, is_blocked_in_line
from holdfast.workflow.process.runtime import Runtime

T = TypeVar("T")

ASIDE_MAX = 16
"""How many runs that wait for locks are looked at in one sweep while there is no place."""
LENT_MAX = 16
"""How many runs more than there are places for are worked on, by the places of those who wait in a block."""


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

    async def make(self, *, dead: Container[str], round_: int) -> list[str]:
        """All places are taken. Where a run in a place waits for a lock that one in line has, neither would ever go on:
        it steps aside, or lends its place. The ids of those that are to be taken up by lent places. Whoever comes to
        wait so later is looked at then. `dead`: processes that will not go on."""
        if self._crew.waiting_for_locks() or self._runtime.locks.waiting:
            self.watch()
        await self._let_step_aside(_some(self._crew.waiting_for_locks(), round_), dead)
        return [] if self._runtime.is_draining else await self._lent(dead, round_)

    def watch(self) -> None:
        """Somebody waits where there is no place: look a sweep later whether it is for one without a place."""
        if not self._is_watched:
            self._is_watched = True
            self._runtime.alarm.at(self._runtime.store.now_s() + self._sweep_s, self._look)

    async def of_suspect(self, *, dead: Container[str]) -> None:
        """A suspect that is tried here and waits for a lock of one in line lets that one be tried first: they are tried
        one at a time, so it would wait for ever."""
        suspect = self._crew.suspect
        if suspect is not None and suspect.waits_for_locks:
            self.watch()
            await self._let_step_aside([suspect], dead)

    async def _let_step_aside(self, actors: Iterable[Actor], dead: Container[str]) -> None:
        now = self._runtime.store.now_s()
        self._aside = {run_id: at for run_id, at in self._aside.items() if at > now - self._sweep_s}
        for actor in actors:
            if actor.run.id in self._aside:
                continue
            if await is_blocked_in_line(self._runtime.store, actor.run, dead=dead):
                self._aside[actor.run.id] = now
                actor.step_aside()

    async def _lent(self, dead: Container[str], round_: int) -> list[str]:
        """The runs that have what blocks in places here wait for, and have no place themselves."""
        found: dict[str, None] = {}
        at_work = set(self._crew.handlers())
        in_places = [asked for asked in self._runtime.locks.waiting if asked.party in at_work]
        for asked in _some(in_places, round_):
            if self._crew.beyond + len(found) >= LENT_MAX:
                break
            run_id = await holder_without_place(self._runtime.store, asked, dead=dead)
            if run_id is not None and run_id not in self._crew:
                found[run_id] = None
        return list(found)

    def _look(self) -> None:
        self._is_watched = False
        self._on_due()


def _some(waiting: list[T], round_: int) -> list[T]:
    """As many as one sweep looks at, others each time."""
    first = round_ * ASIDE_MAX % max(1, len(waiting))
    return (waiting[first:] + waiting[:first])[:ASIDE_MAX]
