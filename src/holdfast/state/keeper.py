"""What has outlived its time goes: looked for by due time, a slice at a time, and told in the journal as expired.

Nobody sees such an object from the moment its time is over; the keeper only makes room.
"""

from __future__ import annotations

from collections import defaultdict

from holdfast.clock import Clock
from holdfast.errors import Conflict, Corrupt, HoldfastError
from holdfast.logs import get_logger
from holdfast.state.names import OBJECT
from holdfast.state.objects import held
from holdfast.state.rules import EXPIRED, Written, written
from holdfast.state.shelf import Shelf
from holdfast.store.contract.records import Query, Scope

SLICE = 200
AUDIT = b'{"agent":"keeper","why":"its time was over"}'
log = get_logger("holdfast.state")


class Keeper:
    """Removes what is over its time every `every_s` seconds. `trouble` says what the last round met, if anything."""

    def __init__(self, shelf: Shelf, clock: Clock, *, every_s: float) -> None:
        self._shelf = shelf
        self._clock = clock
        self._every_s = every_s
        self.trouble: str | None = None

    async def keep(self) -> None:
        """Round after round, without end."""
        while True:
            await self._clock.sleep(self._every_s)
            try:
                await sweep(self._shelf, Scope.system())
                self.trouble = None
            except HoldfastError as error:
                self.trouble = f"clean-up: {error.message}"
                log.warning("objects not cleaned up, tried again later", error=repr(error))


async def sweep(shelf: Shelf, scope: Scope) -> int:
    """Remove the objects of `scope` whose time is over; how many."""
    count, after = 0, None
    while True:
        query = Query(kind=OBJECT, by_due=True, due_until=shelf.now_s())
        page = await shelf.store.scan(scope, query, after=after, limit=SLICE)
        parts: dict[str, list[Written]] = defaultdict(list)
        for record in page.records:
            there = held(record)
            if there is not None and not there.is_live(shelf.now_s()):
                parts[record.key.tenant].append(written(record.key, there, None, EXPIRED, AUDIT))
        for tenant, its in parts.items():
            count += await _remove(shelf, Scope.of_tenant(tenant), its)
        if page.next is None:
            return count
        after = page.next


async def _remove(shelf: Shelf, scope: Scope, parts: list[Written]) -> int:
    """All at once; where somebody has set one of them anew meanwhile, one by one."""
    try:
        await shelf.commit(
            scope,
            writes=[write for part in parts for write in part.writes],
            events=[event for part in parts for event in part.events],
        )
    except (Conflict, Corrupt):
        if len(parts) == 1:
            return 0
        middle = len(parts) // 2
        return await _remove(shelf, scope, parts[:middle]) + await _remove(shelf, scope, parts[middle:])
    return len(parts)
