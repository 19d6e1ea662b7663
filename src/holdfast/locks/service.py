"""Locks for whoever needs some outside a state's `lock=`: acquire, renew, release, and word when they were lost.

The store is the truth; its `wait` is only a hint to look again. A lease lasts `ttl_s` seconds and is renewed at a
third of that; a holder that could not renew in time is told through `Lease.lost`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple
from weakref import WeakKeyDictionary

from holdfast.clock import Clock, Randomness
from holdfast.context import UserExecutionContext
from holdfast.errors import Deadlock, Fenced, HoldfastError, InvalidInput, LockTimeout
from holdfast.ids import uuid7
from holdfast.locks.book import LockBook, keys_of
from holdfast.locks.desk import Desk
from holdfast.locks.lease import Lease, Term
from holdfast.locks.records import LOCK, decode_tree
from holdfast.locks.rules import LockRequest, LockTree, Mode, Standing, Ticket, clash, requests_of
from holdfast.locks.waits import cycle, in_words, victim, waits
from holdfast.logs import get_logger
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Key, Query, Scope
from holdfast.tasks import Supervisor

HEARTBEATS_MIN = 3
"""How many renewals must fit into a lease, so that one that is late loses nothing."""
LEASE_TTL_S = 30.0
PAGE = 500

log = get_logger("holdfast.locks")


class Asked(NamedTuple):
    """What one block asks for, and as whom. `life`: this very block, where others may ask as the same `holder`."""

    context: UserExecutionContext
    requests: tuple[LockRequest, ...]
    holder: str
    party: str
    ttl_s: float
    life: str

    @property
    def keys(self) -> tuple[Key, ...]:
        return keys_of(self.context.tenant, self.requests)

    def ticket(self, now: float) -> Ticket:
        return Ticket(
            self.holder, self.context.user, now, name="", party=self.party, expires_at=now + self.ttl_s, life=self.life
        )

    def standing(self, book: LockBook) -> Standing:
        return book.standing(self.requests, self.holder, life=self.life)

    def __str__(self) -> str:
        return f"lock {', '.join(map(str, self.requests))}"


class Block(NamedTuple):
    """A block that a task is inside of."""

    asked: Asked
    term: Term


class LockService:
    """Locks of one store. `on_changed` hears of each tree that was written here, `on_wait` of each block that comes to
    wait; `party` names what the calling code belongs to, "" where that is its task alone; `heartbeat_s` is how often a
    process must be able to renew; `poll_s` is how often a waiter looks without a hint."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        randomness: Randomness,
        tasks: Supervisor,
        *,
        on_changed: Callable[[Key], None],
        on_wait: Callable[[], None] = lambda: None,
        party: Callable[[], str],
        heartbeat_s: float = 1.0,
        poll_s: float = 1.0,
    ) -> None:
        self._store = store
        self._clock = clock
        self._randomness = randomness
        self._tasks = tasks
        self._desk = Desk(store, clock, randomness, tasks, on_changed=on_changed, poll_s=poll_s)
        self._party = party
        self._on_wait = on_wait
        self._heartbeat_s = heartbeat_s
        self._poll_s = poll_s
        self._inside: WeakKeyDictionary[asyncio.Task[object], list[Block]] = WeakKeyDictionary()
        self._waiting: dict[str, Asked] = {}

    @property
    def waiting(self) -> tuple[Asked, ...]:
        """What blocks of this process wait for now, in the order in which they came."""
        return tuple(self._waiting.values())

    @asynccontextmanager
    async def hold(
        self,
        context: UserExecutionContext,
        requests: Sequence[LockRequest],
        *,
        ttl_s: float = LEASE_TTL_S,
        wait_max_s: float | None = None,
        holder: str = "",
    ) -> AsyncIterator[tuple[Lease, ...]]:
        """Hold all of `requests` for the block, waiting in line for at most `wait_max_s` seconds (None: as long as it
        takes); a lease for each, in the order of the requests. `holder`: who asks, where that outlives this process:
        the same one asking again keeps its place, or holds at once under a new token, and its former self has lost.

        Raises LockTimeout, naming who is before, when the wait was too long; Deadlock when it would have no end; Fenced
        where the same `holder` asked again meanwhile.
        """
        task = asyncio.current_task()
        assert task is not None, "async code runs in a task"
        inside = self._inside.setdefault(task, [])
        own = f"lease:{uuid7(self._clock, self._randomness)}"
        asked = Asked(
            context,
            tuple(requests),
            holder=f"lease:{context.user}/{holder}" if holder else own,
            party=self._party() or (inside[0].asked.party if inside else own),
            ttl_s=ttl_s,
            life=own if holder else "",
        )
        if ttl_s < HEARTBEATS_MIN * self._heartbeat_s:
            raise InvalidInput(
                f"{asked}: expected a ttl_s of at least {HEARTBEATS_MIN * self._heartbeat_s:g}, which is "
                f"{HEARTBEATS_MIN} heartbeats, saw {ttl_s:g}: a single late renewal would lose it"
            )
        if wait_max_s != 0:
            _refuse_twice(asked, inside)
        term: Term | None = None
        if not holder:
            self._desk.ours.add(own)
        try:
            leases, term = await self._acquire(asked, wait_max_s, may_close_a_cycle=bool(inside or self._party()))
            block = Block(asked, term)
            inside.append(block)
            minded = self._tasks.start(self._mind(asked, leases, term), name=f"mind {asked}")
            try:
                yield leases
            finally:
                inside.remove(block)
                minded.cancel()
        finally:
            tokens = None if term is None else [lease.token for lease in leases]
            await asyncio.shield(self._tasks.start(self._give_back(asked, tokens), name=f"release {asked}"))

    @asynccontextmanager
    async def hold_one(
        self,
        context: UserExecutionContext,
        kind: str,
        name: str,
        *,
        mode: Mode = "exclusive",
        ttl_s: float = LEASE_TTL_S,
        wait_max_s: float | None = None,
        holder: str = "",
    ) -> AsyncIterator[Lease]:
        """Hold one lock for the block. See `hold`."""
        requests = requests_of((kind, name, mode))
        async with self.hold(context, requests, ttl_s=ttl_s, wait_max_s=wait_max_s, holder=holder) as (lease,):
            yield lease

    async def _acquire(
        self, asked: Asked, wait_max_s: float | None, *, may_close_a_cycle: bool
    ) -> tuple[tuple[Lease, ...], Term]:
        """Stand in line until all is ours. The tickets are written again only when a third of their life is over."""
        began_at, looked_at = self._store.now_s(), float("-inf")
        asked_at = await self._ask(asked, anew=True)  # what a former self of this holder had, it has no more
        while True:
            book = await self._desk.book(asked.keys)
            place = asked.standing(book)
            if place.is_superseded:
                raise Fenced(f"{asked}: expected to be the last to ask as {asked.holder}, saw another one since: stop")
            if place.must_ask or book.now >= asked_at + asked.ttl_s / 3:
                asked_at = await self._ask(asked)
                continue
            if place.tokens:
                return self._leased(asked, place, asked_at + asked.ttl_s)
            wait_left_s = float("inf") if wait_max_s is None else began_at + wait_max_s - book.now
            if wait_max_s == 0 or wait_left_s <= 0:  # a server's clock, read twice, may be a little behind itself
                raise _waited_too_long(asked, place, wait_max_s or 0.0)
            if may_close_a_cycle and book.now - looked_at >= self._poll_s:
                looked_at = book.now
                await self._refuse_cycle(asked, book)
            self._waiting[asked.holder] = asked
            self._on_wait()
            try:
                await self._desk.wait(asked.keys, asked.holder, min(self._poll_s, asked.ttl_s / 3, wait_left_s))
            finally:
                self._waiting.pop(asked.holder, None)

    async def _ask(self, asked: Asked, *, anew: bool = False) -> float:
        """Stand in line, or keep the place; when that was, which is when the lease's time began."""

        def decision(book: LockBook) -> float:
            book.ask(asked.requests, asked.ticket(book.now), anew=anew)
            return book.now

        return await self._desk.decide(asked.keys, decision)

    def _leased(self, asked: Asked, place: Standing, good_until: float) -> tuple[tuple[Lease, ...], Term]:
        term = Term(good_until)
        pairs = zip(asked.requests, place.tokens, strict=True)
        return tuple(Lease(asked.context.tenant, request, token, term) for request, token in pairs), term

    async def _refuse_cycle(self, asked: Asked, book: LockBook) -> None:
        """Raises Deadlock where our own party waits for itself and it is we who must give way. Our tickets are written
        before we look, so of two who close a cycle at once one sees all of it; whoever sees it names the same one."""
        trees = book.trees_but(await self._queued(asked.context.tenant))
        way = cycle(waits(trees, now=book.now), asked.holder)
        if way and victim(way).holder == asked.holder:
            words = in_words(way)
            raise Deadlock(f"{asked}: refused, for the wait would have no end: {words}", cycle=words)

    async def _queued(self, tenant: str) -> list[LockTree]:
        """All trees in which somebody waits."""
        found: list[LockTree] = []
        after: str | None = None
        while True:
            query = Query(kind=LOCK, statuses=("queued",))
            page = await self._store.scan(Scope.of_tenant(tenant), query, after=after, limit=PAGE)
            found += [decode_tree(record) for record in page.records]
            if page.next is None:
                return found
            after = page.next

    async def _mind(self, asked: Asked, leases: tuple[Lease, ...], term: Term) -> None:
        """Renew the leases from a third of their life on, and tell the holder when their time has run out, whatever the
        renewal hangs on."""
        await self._clock.sleep(asked.ttl_s / 3)
        renewal = self._tasks.start(self._renew(asked, leases, term), name=f"renew {asked}")
        try:
            while (left := term.good_until - self._store.now_s()) > 0:
                await self._clock.sleep(left)
            term.lost.set()
        finally:
            renewal.cancel()

    async def _renew(self, asked: Asked, leases: tuple[Lease, ...], term: Term) -> None:
        """Renew now and at each third of the lease's life. What fails is tried again at the next."""
        tokens = tuple(lease.token for lease in leases)

        def decision(book: LockBook) -> float | None:
            if asked.standing(book).tokens != tokens:
                return None
            book.ask(asked.requests, asked.ticket(book.now))
            return book.now

        while not term.lost.is_set():
            with suppress(HoldfastError):
                if (renewed_at := await self._desk.decide(asked.keys, decision)) is None:
                    term.lost.set()
                    return
                term.good_until = renewed_at + asked.ttl_s
            await self._clock.sleep(asked.ttl_s / 3)

    async def _give_back(self, asked: Asked, tokens: Sequence[int] | None) -> None:
        """Give back what was granted, or the places in line. Where the store is away the lease ends by itself."""

        def decision(book: LockBook) -> None:
            book.release(asked.requests, asked.holder, tokens=tokens, life=asked.life)

        try:
            await self._desk.decide(asked.keys, decision)
        except HoldfastError as error:
            log.warning("lock not given back, it lapses", lock=str(asked), ttl_s=asked.ttl_s, error=repr(error))
        finally:
            self._desk.ours.discard(asked.holder)


def _refuse_twice(asked: Asked, inside: Sequence[Block]) -> None:
    """Raises Deadlock where the block that asks is inside of one that holds the same: it would wait for itself."""
    for outer in inside:
        if outer.term.lost.is_set() or outer.asked.context.tenant != asked.context.tenant:
            continue
        for wanted, held in itertools.product(asked.requests, outer.asked.requests):
            if clash(wanted, held):
                words = f"{asked.context.user} waits for {wanted}, and holds {held} in an outer block"
                raise Deadlock(f"{asked}: refused, for the wait would have no end: {words}", cycle=words)


def _waited_too_long(asked: Asked, place: Standing, wait_max_s: float) -> LockTimeout:
    first = place.before[0]
    does = "held" if first.token else "awaited before you"
    line = f"{does} by {first.by} since {first.since:.0f}, {len(place.before)} before you"
    return LockTimeout(
        f"{asked}: waited {wait_max_s:g} s; {line}",
        holder=first.holder,
        place=len(place.before),
    )
