"""A place for a block of code, outside of what a state's `limits=` takes: a lease, renewed while the block lasts.

A block stands in no line: it takes a place as soon as there is room. It looks again when somebody committed something,
when a token is due or a lease lapses, and each second in case a hint was lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from holdfast.clock import Clock, Randomness
from holdfast.context import UserExecutionContext
from holdfast.errors import Conflict, HoldfastError, InvalidInput, Unavailable
from holdfast.ids import uuid7
from holdfast.limits.book import LimitBook, PlaceChange
from holdfast.limits.rules import Limit
from holdfast.logs import get_logger
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Change, Scope
from holdfast.tasks import Supervisor

ATTEMPTS_MAX = 10_000
"""Bound on re-reads of a contended limit: each lost race means that somebody else moved on."""
HEARTBEATS_MIN = 3
"""How many renewals must fit into a place's life, so that one that is late loses nothing."""
PLACE_TTL_S = 30.0

log = get_logger("holdfast.limits")


class PlaceService:
    """Places of one store for blocks. `on_changed` hears of each change that was written here."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        randomness: Randomness,
        tasks: Supervisor,
        *,
        on_changed: Callable[[PlaceChange], None],
        heartbeat_s: float = 1.0,
        poll_s: float = 1.0,
    ) -> None:
        self._store = store
        self._clock = clock
        self._randomness = randomness
        self._tasks = tasks
        self._on_changed = on_changed
        self._heartbeat_s = heartbeat_s
        self._poll_s = poll_s

    @asynccontextmanager
    async def hold(
        self,
        context: UserExecutionContext,
        limit: Limit,
        *,
        ttl_s: float = PLACE_TTL_S,
        wait_max_s: float | None = None,
        holder: str = "",
    ) -> AsyncIterator[None]:
        """Hold a place under `limit` for the block, and spend a token of its rate, waiting for at most `wait_max_s`
        seconds (None: as long as it takes). `holder`: who asks, where that outlives this process: what its former self
        still had is given back at once.

        Raises Unavailable, naming when there may be room, where the wait was too long.
        """
        if ttl_s < HEARTBEATS_MIN * self._heartbeat_s:
            raise InvalidInput(
                f"limit {limit.name}: expected a ttl_s of at least {HEARTBEATS_MIN * self._heartbeat_s:g}, which is "
                f"{HEARTBEATS_MIN} heartbeats, saw {ttl_s:g}: a single late renewal would lose the place"
            )
        asks = _Asks(context, limit, holder or f"block:{uuid7(self._clock, self._randomness)}", ttl_s)
        await self._acquire(asks, wait_max_s)
        if limit.places is None:
            yield
            return
        renewal = self._tasks.start(self._renew(asks), name=f"renew place {limit.name}")
        try:
            yield
        finally:
            renewal.cancel()
            await asyncio.shield(self._tasks.start(self._give_back(asks), name=f"release place {limit.name}"))

    async def _acquire(self, asks: _Asks, wait_max_s: float | None) -> None:
        began_at = self._store.now_s()
        tick = races = 0
        while races < ATTEMPTS_MAX:
            book = await asks.book(self._store)
            book.give_back(asks.slot, asks.holder)
            if book.has_room(asks.slot, waiter=asks.holder):
                book.take(asks.slot, asks.holder, expires_at=book.now + asks.ttl_s)
                if await self._write(asks, book):
                    return
                races += 1
                continue
            at = book.next_at(asks.slot)
            if wait_max_s is not None and book.now - began_at >= wait_max_s:
                when = "when somebody gives a place back" if at is None else f"in {max(0.0, at - book.now):.3g} s"
                raise Unavailable(
                    f"limit {asks.limit.name}: waited {wait_max_s:g} s; {book.ledger(asks.slot).waiting} runs wait in "
                    f"line, and there may be room {when}"
                )
            ends = [self._poll_s, *([] if at is None else [at - book.now])]
            if wait_max_s is not None:
                ends.append(began_at + wait_max_s - book.now)
            tick = await self._hint(tick, max(0.001, min(ends)))
        raise Unavailable(f"limit {asks.limit.name}: lost {ATTEMPTS_MAX} races; try again later")

    async def _hint(self, tick: int, seconds: float) -> int:
        """Until somebody committed something, or `seconds` passed."""
        changed = self._tasks.start(self._store.wait(tick), name="limit hint")
        slept = self._tasks.start(self._clock.sleep(seconds), name="limit poll")
        try:
            await asyncio.wait([changed, slept], return_when=asyncio.FIRST_COMPLETED)
            return changed.result() if changed.done() else tick
        finally:
            changed.cancel()
            slept.cancel()

    async def _renew(self, asks: _Asks) -> None:
        """Renew at each third of the place's life, until it is lost. What fails is tried again at the next."""
        while True:
            await self._clock.sleep(asks.ttl_s / 3)
            with suppress(HoldfastError):
                while True:
                    book = await asks.book(self._store)
                    if not book.renew(asks.slot, asks.holder, book.now + asks.ttl_s):
                        log.warning("place lost: it could not be renewed in time", limit=asks.slot, holder=asks.holder)
                        return
                    if await self._write(asks, book):
                        break

    async def _give_back(self, asks: _Asks) -> None:
        """Give the place back. Where the store is away it lapses by itself."""
        try:
            for _ in range(ATTEMPTS_MAX):
                book = await asks.book(self._store)
                book.give_back(asks.slot, asks.holder)
                if await self._write(asks, book):
                    return
        except HoldfastError as error:
            log.warning("place not given back, it lapses", limit=asks.slot, ttl_s=asks.ttl_s, error=repr(error))

    async def _write(self, asks: _Asks, book: LimitBook) -> bool:
        """Make it true; False where the ledger was changed meanwhile."""
        places = book.change()
        if not places.puts:
            return True
        change = Change(
            change_id=uuid7(self._clock, self._randomness), writes=places.puts, removes=places.removes
        )  # fmt: skip
        try:
            await self._store.commit(Scope.of_tenant(asks.context.tenant), change)
        except Conflict:
            return False
        self._on_changed(places)
        return True


class _Asks:
    """What one block asks for, and as whom."""

    def __init__(self, context: UserExecutionContext, limit: Limit, holder: str, ttl_s: float) -> None:
        self.context = context
        self.limit = limit
        self.holder = holder
        self.ttl_s = ttl_s
        self.slot = limit.slot(context.user)

    async def book(self, store: Store) -> LimitBook:
        """The limit's ledger as it stands."""
        slots: Mapping[str, Limit | None] = {self.slot: self.limit}
        return await LimitBook.read(store, self.context.tenant, self.context.user, slots)
