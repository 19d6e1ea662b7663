"""The actors of this process: at most `runs_max` at a time, but for those of lent places; each run at most once."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable
from contextlib import suppress

from holdfast.errors import Corrupt, HoldfastError
from holdfast.logs import get_logger
from holdfast.store.contract.records import Key, Record, Scope
from holdfast.workflow.actors.actor import Actor, Origin
from holdfast.workflow.model.run import Run
from holdfast.workflow.process.runtime import Runtime, Stored

READ_BATCH = 500

log = get_logger("holdfast.crew")


class Crew:
    """Starts actors and hears when they end. `on_released` gets each run as its actor left it; `on_lost` hears that an
    actor found its run gone and no other took its place here: should that be a mistake, the run has nobody."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        runs_max: int,
        deaths_max: int,
        on_released: Callable[[Stored], None],
        on_crashed: Callable[[str, BaseException], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._runtime = runtime
        self._runs_max = runs_max
        self._deaths_max = deaths_max
        self._on_released = on_released
        self._on_crashed = on_crashed
        self._on_lost = on_lost
        self._actors: dict[str, Actor] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.suspect: Actor | None = None

    @property
    def free(self) -> int:
        """How many more runs this process takes."""
        return max(0, self._runs_max - len(self._actors))

    @property
    def beyond(self) -> int:
        """How many runs more than it has places for this process works on: by places that were lent."""
        return max(0, len(self._actors) - self._runs_max)

    @property
    def is_lonely(self) -> bool:
        """Whether a suspect may be tried here: no other one is, that has not made progress yet."""
        return self.suspect is None or self.suspect.has_progressed.is_set()

    def close(self) -> None:
        """Take no more runs: what is committed from now on is nobody's, for others to take up."""
        self._runs_max = 0

    async def drained(self) -> None:
        """Until no actor is left; after `close`, each lets its run go once its handlers at work have ended."""
        for actor in tuple(self._actors.values()):
            actor.poke()
        while self._tasks:
            await asyncio.wait(tuple(self._tasks.values()))

    def __len__(self) -> int:
        return len(self._actors)

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._actors

    def runs(self) -> list[Run]:
        """The runs that are worked on here, as their actors know them."""
        return [actor.run for actor in self._actors.values() if not actor.is_lost]

    def find(self, run_id: str) -> Actor | None:
        """The actor of a run, if it lives here."""
        return self._actors.get(run_id)

    def is_missing(self, run_id: str, epoch: int) -> bool:
        """Whether nobody here works on a run that this process owns since `epoch`."""
        actor = self._actors.get(run_id)
        return actor is None or actor.is_lost or actor.epoch < epoch

    def launch(self, stored: Stored, origin: Origin, *, silent_since: float | None = None) -> Actor:
        """Start the actor of a run that this process has just come to own; `silent_since`: see `Actor`."""
        run_id = stored.run.id
        old = self._actors.get(run_id)
        if old is not None:
            if old.epoch > stored.epoch:
                return old  # it was claimed anew before its launch: the later claim counts
            old.lose()
        actor = Actor(self._runtime, stored, origin, deaths_max=self._deaths_max, silent_since=silent_since)
        self._actors[run_id] = actor
        if origin is Origin.SUSPECT:
            self.suspect = actor
        self._tasks[run_id] = self._runtime.tasks.start(self._live(run_id, actor), name=f"actor {run_id}")
        return actor

    async def have_begun(self, records: Iterable[Record], *, within_s: float) -> bool:
        """Whether all runs just launched from `records` are at work, or gone again, within so many seconds."""
        actors = [actor for record in records if (actor := self._actors.get(record.key.id)) is not None]
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                for actor in actors:
                    await actor.has_begun.wait()
                return True
        return False

    def lose(self, run_id: str, *, epoch: int) -> None:
        """The run was taken from its owner by raising its epoch to `epoch`: an actor of before must stop."""
        actor = self._actors.get(run_id)
        if actor is not None and actor.epoch < epoch:
            actor.lose()

    def waiting_for_locks(self) -> list[Actor]:
        """The actors that hold a place and only wait for locks."""
        return [actor for actor in self._actors.values() if actor.waits_for_locks and not actor.is_lost]

    async def check_epochs(self) -> int:
        """Lose every run that somebody claimed away, waiting for the store if it is away; how many these were. A run
        that cannot be read keeps its actor: its next commit tells."""
        keys: list[Key] = [actor.run.key for actor in self._actors.values()]
        lost = 0
        for start in range(0, len(keys), READ_BATCH):
            for key, record in await self._read(keys[start : start + READ_BATCH]):
                actor = self._actors.get(key.id)
                if actor is not None and (record is None or record.epoch > actor.epoch):
                    actor.lose()
                    lost += 1
        return lost

    async def _read(self, keys: list[Key]) -> list[tuple[Key, Record | None]]:
        """The records of keys, but for those that are damaged: one of them must not hide the others."""
        try:
            read = functools.partial(self._runtime.store.read, Scope.system(), keys)
            return list(zip(keys, await self._runtime.patiently(read), strict=True))
        except Corrupt as error:
            if len(keys) > 1:
                return [found for key in keys for found in await self._read([key])]
            log.error("run cannot be read", run=keys[0].id, error=error.message)
            return []

    def is_quiet(self) -> bool:
        """Whether no actor has anything to do before time passes or somebody sends something."""
        return all(actor.is_resting for actor in self._actors.values())

    def handlers(self) -> list[str]:
        """The visits whose handlers are at work here."""
        return [name for actor in self._actors.values() for name in actor.handlers]

    async def _live(self, run_id: str, actor: Actor) -> None:
        try:
            await actor.live()
        except HoldfastError as error:
            self._on_crashed(run_id, error)
        finally:
            if self._actors.get(run_id) is actor:
                del self._actors[run_id]
                del self._tasks[run_id]
                if actor.is_lost:
                    self._on_lost()
            if self.suspect is actor:
                self.suspect = None
            actor.has_progressed.set()
            self._on_released(actor.stored)
