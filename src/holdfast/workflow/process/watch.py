"""Notices that a store which was away is back, and says so at once: health triggers recovery.

Nothing is polled while all is well. Whoever meets an ailing store says so; from then on it is looked at until it
answers and names no ailment. Of a store that learns of its own health by being written to, the heartbeat is the trial:
it beats faster meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from holdfast.clock import Clock
from holdfast.errors import HoldfastError
from holdfast.logs import get_logger
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import SHARED, SYSTEM_TENANT, Key, Scope
from holdfast.tasks import Supervisor
from holdfast.workflow.model.run import PROCESS

LOOK_S = 0.1
"""How often an ailing store is looked at."""
PROBED = Key(SYSTEM_TENANT, SHARED, PROCESS, "probe")
"""A key that nobody has: reading it costs the store next to nothing."""

log = get_logger("holdfast.watch")


class StoreWatch:
    """Watches `store` from the first trouble until it is well, then calls `on_back`. `returns` counts how often."""

    def __init__(self, store: Store, clock: Clock, tasks: Supervisor, *, on_back: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._tasks = tasks
        self._on_back = on_back
        self._watching: asyncio.Task[None] | None = None
        self.returns = 0

    @property
    def is_watching(self) -> bool:
        """Whether the store was met ailing and is not known to be well again."""
        return self._watching is not None

    def trouble(self) -> None:
        """Somebody could not do with the store what he wanted to."""
        if self._watching is None:
            log.warning("store is away", ailment=self._store.ailment())
            self._watching = self._tasks.start(self._until_well(), name="store watch")

    async def _until_well(self) -> None:
        began_s = self._clock.time_s()
        await self._clock.sleep(LOOK_S)
        while not await self._is_well():
            await self._clock.sleep(LOOK_S)
        self._watching = None
        self.returns += 1
        log.warning("store is back", away_s=round(self._clock.time_s() - began_s, 3))
        self._on_back()

    async def _is_well(self) -> bool:
        if self._store.ailment() is not None:
            return False
        try:
            await self._store.read(Scope.system(), [PROBED])
        except HoldfastError:
            return False
        return True

    def __repr__(self) -> str:
        return f"StoreWatch(watching={self.is_watching}, returns={self.returns})"
