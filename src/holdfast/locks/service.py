"""Locks for whoever needs one outside a state's `lock=`: acquire, renew, release, and word when it was lost.

The store is the truth; its `wait` is only a hint to look again. A lease lasts `ttl_s` seconds and is renewed at a
third of that; a holder that could not renew in time is told through `Lease.lost`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from holdfast.clock import Clock, Randomness
from holdfast.context import UserExecutionContext
from holdfast.errors import Conflict, Fenced, HoldfastError, InvalidInput, Unavailable
from holdfast.ids import uuid7
from holdfast.locks.records import lock_key, lock_state, lock_write, token_of
from holdfast.locks.rules import Ticket, Verdict, ask, check_lock, is_held_by, release
from holdfast.store.protocol import Store
from holdfast.store.records import Change, Key, Record, Require, Scope
from holdfast.tasks import Supervisor

ATTEMPTS_MAX = 10_000
"""Bound on re-reads of a contended lock: each lost race means that somebody else moved on."""


class Lease:
    """A lock that is held now. `token` only grows from holder to holder: hand it to whatever is written. `good_until`:
    until when the store keeps it for its holder, in epoch seconds on the store's clock."""

    def __init__(self, kind: str, name: str, token: int, key: Key, *, good_until: float) -> None:
        self.kind = kind
        self.name = name
        self.token = token
        self.good_until = good_until
        self.lost = asyncio.Event()
        self._key = key

    def requirement(self) -> Require:
        """A precondition for a store's change: this lease is still the one."""
        return Require(key=self._key, epoch=self.token)

    def check(self) -> None:
        """Raises Fenced once the lease is known to be lost."""
        if self.lost.is_set():
            raise Fenced(f"lock {self.kind}/{self.name}: the lease with token {self.token} was lost; stop writing")

    def __repr__(self) -> str:
        return f"Lease({self.kind}/{self.name}, token={self.token}, lost={self.lost.is_set()})"


class LockService:
    """Locks of one store. `on_changed` hears of each lock that was written here; `poll_s` is how often a waiter looks
    without a hint."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        randomness: Randomness,
        tasks: Supervisor,
        *,
        on_changed: Callable[[Key], None],
        poll_s: float = 1.0,
    ) -> None:
        self._store = store
        self._clock = clock
        self._randomness = randomness
        self._tasks = tasks
        self._on_changed = on_changed
        self._poll_s = poll_s

    @asynccontextmanager
    async def hold(
        self,
        context: UserExecutionContext,
        kind: str,
        name: str,
        *,
        ttl_s: float = 30.0,
        wait_max_s: float | None = None,
    ) -> AsyncIterator[Lease]:
        """Hold the lock for the block, waiting in line for it for at most `wait_max_s` seconds (None: as long as it
        takes). Raises Unavailable, naming the holder, when the wait was too long."""
        check_lock(kind, name)
        if ttl_s <= 0:
            raise InvalidInput(f"lock {kind}/{name}: expected a ttl_s above 0, saw {ttl_s}")
        holder = f"lease:{uuid7(self._clock, self._randomness)}"
        try:
            lease = await self._acquire(context, kind, name, holder, ttl_s, wait_max_s)
            renewal = self._tasks.start(self._renew(context, lease, holder, ttl_s), name=f"renew {kind}/{name}")
            expiry = self._tasks.start(self._expire(lease), name=f"expire {kind}/{name}")
            try:
                yield lease
            finally:
                renewal.cancel()
                expiry.cancel()
        finally:
            await asyncio.shield(self._tasks.start(self._give_back(context, kind, name, holder), name="release"))

    async def _acquire(
        self, context: UserExecutionContext, kind: str, name: str, holder: str, ttl_s: float, wait_max_s: float | None
    ) -> Lease:
        """Stand in line until the lock is ours. A ticket is written again only when a third of its life is over: each
        write wakes everybody who waits, its writer too."""
        key = lock_key(context.tenant, kind, name)
        began_at = self._store.now_s()
        tick = races = 0
        while races < ATTEMPTS_MAX:
            now = self._store.now_s()
            record = (await self._store.read(Scope.of_tenant(context.tenant), [key]))[0]
            state = lock_state(kind, name, record)
            mine = state.ticket_of(holder)
            if mine is not None and is_held_by(state, holder, now=now):
                return Lease(kind, name, token_of(record), key, good_until=mine.expires_at or now)
            verdict = ask(state, Ticket(holder, context.user, now, now + ttl_s), now=now)
            is_fresh = mine is not None and (mine.expires_at or now) - now > ttl_s * 2 / 3
            if (verdict.is_new_holder or not is_fresh) and not await self._write(context, record, verdict):
                races += 1
                continue
            queue = verdict.lock.queue
            if queue[0].holder == holder:
                continue  # read it once more for the token
            if wait_max_s is not None and now - began_at >= wait_max_s:
                place = next(i for i, waiting in enumerate(queue) if waiting.holder == holder)
                raise Unavailable(
                    f"lock {kind}/{name}: waited {wait_max_s:g} s; held by {queue[0].by} since {queue[0].since:.0f}, "
                    f"{place} before you",
                    holder=queue[0].holder,
                    place=place,
                )
            tick = await self._hint(tick, min(self._poll_s, ttl_s / 3))
        raise Unavailable(f"lock {kind}/{name}: lost {ATTEMPTS_MAX} races; try again later")

    async def _hint(self, tick: int, seconds: float) -> int:
        """Until somebody committed something, or `seconds` passed."""
        changed = self._tasks.start(self._store.wait(tick), name="lock hint")
        slept = self._tasks.start(self._clock.sleep(seconds), name="lock poll")
        try:
            await asyncio.wait([changed, slept], return_when=asyncio.FIRST_COMPLETED)
            return changed.result() if changed.done() else tick
        finally:
            changed.cancel()
            slept.cancel()

    async def _expire(self, lease: Lease) -> None:
        """Tell the holder when its lease has run out, whatever its renewal hangs on."""
        while (left := lease.good_until - self._store.now_s()) > 0:
            await self._clock.sleep(left)
        lease.lost.set()

    async def _renew(self, context: UserExecutionContext, lease: Lease, holder: str, ttl_s: float) -> None:
        """Renew at each third of the lease's life. What fails is tried again at the next: `_expire` minds the end."""
        while not lease.lost.is_set():
            await self._clock.sleep(ttl_s / 3)
            with suppress(HoldfastError):
                await self._renew_once(context, lease, holder, ttl_s)

    async def _renew_once(self, context: UserExecutionContext, lease: Lease, holder: str, ttl_s: float) -> None:
        key = lock_key(context.tenant, lease.kind, lease.name)
        now = self._store.now_s()
        record = (await self._store.read(Scope.of_tenant(context.tenant), [key]))[0]
        state = lock_state(lease.kind, lease.name, record)
        if token_of(record) != lease.token or not is_held_by(state, holder, now=now):
            lease.lost.set()
        elif await self._write(context, record, ask(state, Ticket(holder, context.user, now, now + ttl_s), now=now)):
            lease.good_until = now + ttl_s

    async def _give_back(self, context: UserExecutionContext, kind: str, name: str, holder: str) -> None:
        key = lock_key(context.tenant, kind, name)
        for _ in range(ATTEMPTS_MAX):
            record = (await self._store.read(Scope.of_tenant(context.tenant), [key]))[0]
            if record is None:
                return
            verdict = release(lock_state(kind, name, record), holder, now=self._store.now_s())
            if verdict.is_same or await self._write(context, record, verdict):
                return

    async def _write(self, context: UserExecutionContext, record: Record | None, verdict: Verdict) -> bool:
        if verdict.is_same:
            return True
        put = lock_write(context.tenant, record, verdict.lock, is_new_holder=verdict.is_new_holder)
        change = Change(change_id=uuid7(self._clock, self._randomness), writes=(put,))
        try:
            await self._store.commit(Scope.of_tenant(context.tenant), change)
        except Conflict:
            return False
        self._on_changed(put.key)
        return True
