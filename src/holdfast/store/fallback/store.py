"""The store that "redis://host:6379/0?fallback=memory" names: Redis, and this process's memory while Redis is away.

While it is there everything is Redis's, and what passes is kept in mind. When its breaker opens the call that found it
away, and all behind it, are answered from memory; a task in the background asks for Redis, merges what was written
meanwhile (see `merging`), and gives all calls back to it at the moment when nothing is left to merge.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from holdfast import codec
from holdfast.clock import Clock
from holdfast.errors import BreakerOpen, CommitUnknown, HoldfastError, Unavailable
from holdfast.logs import get_logger
from holdfast.merge import FieldPolicy
from holdfast.store.contract.history import History, Stream
from holdfast.store.contract.records import (
    SHARED,
    SYSTEM_TENANT,
    Capabilities,
    Change,
    Claim,
    Commit,
    Event,
    Key,
    NewEvent,
    Page,
    Position,
    Put,
    Query,
    Record,
    Scope,
    Verification,
)
from holdfast.store.fallback.address import OPTION, without_fallback
from holdfast.store.fallback.known import Known
from holdfast.store.fallback.merging import Became, Merger, Outcome
from holdfast.store.fallback.outage import Entry, Landings, Outage
from holdfast.store.fallback.rules import AGENT, Policies
from holdfast.store.fallback.unmerged import unmerged
from holdfast.store.redis import RedisStore
from holdfast.store.redis.errors import is_away
from holdfast.store.servers.breaker import FAILURES_IN_ROW, refused_for_s
from holdfast.store.wrapping.wrapper import OpenWrapper
from holdfast.store.writing.background import Background
from holdfast.store.writing.wakeup import Wakeup

T = TypeVar("T")
OUTAGE = Key(SYSTEM_TENANT, SHARED, "outage", "redis")
"""The record whose journal tells of every outage that is over: whose, how long, what became of its changes."""
ATTEMPTS_MAX = 2 * FAILURES_IN_ROW
"""How often one call may find the server away, or back, before it is settled which."""
PAUSE_S = 0.1
"""At least between two attempts to merge."""
RECOUNT_EVERY_S = 10.0
"""How often it is looked whether somebody has decided about what was kept aside."""

log = get_logger(__name__)


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What this process has met since it opened the store. `waiting`: changes that are not merged yet. Of those that
    are: `landed` went in as they were, `merged` together with others' changes, `restored` what the server had lost;
    `yielded`: claims that others had won; `kept`: not merged, and not decided about yet. `unsure`: records that were
    said not to be there in an outage, where Redis may have them."""

    is_away: bool
    outages: int
    waiting: int
    landed: int
    merged: int
    restored: int
    yielded: int
    kept: int
    unsure: int


class FallbackStore(OpenWrapper[RedisStore]):
    """A `Store` in Redis that goes on in memory. Raises InvalidInput for a bad URL; asks the server nothing itself."""

    def __init__(
        self,
        url: str,
        *,
        clock: Clock | None = None,
        process: str = "",
        payload_bytes_max: int = codec.PAYLOAD_BYTES_MAX,
    ) -> None:
        self._wakeup = Wakeup()
        super().__init__(
            RedisStore(
                without_fallback(url),
                clock=clock,
                process=process,
                payload_bytes_max=payload_bytes_max,
                wakeup=self._wakeup,
            )
        )
        self._redis = self._inner
        (self._server,) = self._redis.server_breakers()
        self._process = process
        self._time = _StoreTime(self._redis.now_s)
        self._lock = threading.Lock()
        self._outage: Outage | None = None
        self._is_closed = False
        self._known = Known()
        self._landings = Landings()
        self._policies: dict[str, Policies] = {}
        self._merger = Merger(self._redis, self._known, self._landings, self._policies_of)
        self._became: Counter[Became] = Counter()
        self._outages = self._unsure = self._kept = 0
        self._background = Background(_failed, name="fallback")

    # -- facts ------------------------------------------------------------------------------------------------------

    @property
    def capabilities(self) -> Capabilities:
        can, outage = self._redis.capabilities, self._outage
        can = replace(can, location=f"{can.location} ({OPTION}=memory)")
        if outage is not None:
            return replace(can, durability="nothing while Redis is away: it ends with this process", is_partial=True)
        said = f"; while it is away nothing, until it is back{self._told()}"
        return replace(can, durability=can.durability + said)

    def ailment(self) -> str | None:
        outage = self._outage
        return self._redis.ailment() if outage is None or self._is_closed else outage.ailment()

    def weakness(self) -> str | None:
        outage = self._outage
        if outage is not None:
            return outage.weakness()
        if self._kept:
            return f"{self._kept} changes that were made while Redis was away could not be merged and are kept aside"
        return None

    def remedy(self) -> str:
        if self._outage is not None:
            return (
                "bring Redis back before this process ends: what waits is merged then, and lost otherwise; for "
                "development only"
            )
        return "`holdfast unmerged` shows them; decide, then drop them there" if self._kept else ""

    def figures(self) -> Figures:
        """What outages there were, and what became of their changes."""
        outage, became = self._outage, self._became
        return Figures(
            is_away=outage is not None,
            outages=self._outages,
            waiting=0 if outage is None else len(outage),
            landed=became[Became.LANDED],
            merged=became[Became.MERGED],
            restored=became[Became.RESTORED],
            yielded=became[Became.YIELDED],
            kept=self._kept,
            unsure=self._unsure,
        )

    def merge_by(self, kind: str, policies: Policies) -> None:
        """What settles the fields of records of `kind` that both sides of an outage changed; without it nothing does:
        RETRY, as for a write through `SyncManager`."""
        self._policies[kind] = policies

    # -- the seven --------------------------------------------------------------------------------------------------

    async def read(self, scope: Scope, keys: Sequence[Key]) -> list[Record | None]:
        async def here(outage: Outage) -> list[Record | None]:
            found = await outage.memory.read(scope, keys)
            self._unsure += sum(record is None for record in found)
            return found

        async def there() -> list[Record | None]:
            found = await self._redis.read(scope, keys)
            for key, record in zip(keys, found, strict=True):
                if record is not None:
                    await self._seen(record)
                elif scope.covers(key):
                    self._known.forget(key)
            return found

        return await self._either(there, here)

    async def scan(self, scope: Scope, query: Query, *, after: str | None = None, limit: int = 100) -> Page:
        async def there() -> Page:
            page = await self._redis.scan(scope, query, after=after, limit=limit)
            for record in page.records:
                await self._seen(record)
            return page

        return await self._either(there, lambda outage: outage.memory.scan(scope, query, after=after, limit=limit))

    async def commit(self, scope: Scope, change: Change) -> Commit:
        async def there() -> Commit:
            answer = await self._redis.commit(scope, change)
            made = self._known.committed(change, answer)
            if self._outage is not None:
                for record in made:
                    await self._seen(record)
            return answer

        async def here(outage: Outage) -> Commit:
            await outage.admitted()
            with self._held(outage):
                return outage.commit(scope, change)

        return await self._either(there, here)

    async def claim(self, scope: Scope, claim: Claim) -> list[Record]:
        async def there() -> list[Record]:
            taken = await self._redis.claim(scope, claim)
            for record in taken:
                await self._seen(record)
            return taken

        async def here(outage: Outage) -> list[Record]:
            await outage.admitted()
            with self._held(outage):
                return outage.claim(scope, claim)

        return await self._either(there, here)

    async def events(
        self,
        scope: Scope,
        *,
        record: Key | None = None,
        stream: Stream | None = None,
        after: Position | None = None,
        after_version: int = 0,
        limit: int = 1000,
    ) -> list[Event]:
        whose = stream if record is None else (record.tenant, record.user)
        place = after if whose is None else self._landings.place(whose, after)
        return await self._either(
            lambda: self._redis.events(
                scope, record=record, stream=stream, after=place, after_version=after_version, limit=limit
            ),
            lambda outage: outage.memory.events(
                scope, record=record, stream=stream, after=after, after_version=after_version, limit=limit
            ),
        )

    async def wait(self, since: int) -> int:
        return await self._either(lambda: self._redis.wait(since), lambda outage: outage.memory.wait(since))

    async def close(self) -> None:
        if self._is_closed:
            return
        await self._background.stop()
        if (outage := self._outage) is not None:
            await self._merge_last(outage)
        self._is_closed = True
        self._wakeup.advance()
        await self._background.stop()
        await self._redis.close()

    # -- operators: of Redis, or not at all; what they replace is not known any more ----------------------------------

    async def repair(self) -> list[str]:
        self._known.clear()
        return await self._redis.repair()

    async def restore(self, source: Path, *, overwrite: bool = False) -> Verification:
        self._known.clear()
        return await self._redis.restore(source, overwrite=overwrite)

    async def load(self, histories: Sequence[History]) -> None:
        self._known.clear()
        await self._redis.load(histories)

    def __repr__(self) -> str:
        return f"FallbackStore({self._redis!r}, {self._outage!r}, {self._known!r})"

    # -- away and back ----------------------------------------------------------------------------------------------

    async def _either(self, there: Callable[[], Awaitable[T]], here: Callable[[Outage], Awaitable[T]]) -> T:
        """What Redis answers, or memory where Redis is away. What Redis refuses it refuses."""
        last: Unavailable | None = None
        for _ in range(ATTEMPTS_MAX):
            if self._is_closed:
                raise Unavailable(f"{self.capabilities.location}: the store is closed; open another")
            if (outage := self._outage) is not None:
                self._background.ensure("return", self._return)
                try:
                    return await here(outage)
                except _Over:
                    continue
            try:
                return await there()
            except Unavailable as error:
                if not (isinstance(error, BreakerOpen) or is_away(error)):
                    raise
                last = error
            if not self._server.breaker.lets_all_in:
                await self._fall(last)
        assert last is not None, "an outage is over once, and another one begins with an error"
        raise last

    async def _fall(self, error: Unavailable) -> None:
        outage = Outage(
            self._time, self._wakeup, why=error.message, payload_bytes_max=self._redis.capabilities.payload_bytes_max
        )
        await outage.begin(self._known.records())
        with self._lock:
            if self._outage is not None or self._is_closed:
                return
            self._outage = outage
            self._outages += 1
            self._landings.begin()
            self._redis.forget_the_server()
        log.warning("redis_away_going_on_in_memory", reason=error.message, known=len(self._known))
        self._wakeup.advance()

    async def _return(self) -> None:
        """Ask for the server until it is back and has everything."""
        while (outage := self._outage) is not None:
            try:
                async with self._server.passing():
                    pass  # the cheap question is asked on the way in
                await self._merge(outage)
            except HoldfastError as error:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise asyncio.CancelledError from error
                if not isinstance(error, BreakerOpen) and not is_away(error):
                    if outage.trouble is None:
                        log.error("outage_not_merged_yet", reason=error.message, waiting=len(outage))
                    outage.trouble = error.message
                await asyncio.sleep(max(PAUSE_S, refused_for_s(error)))
        if self._kept:
            self._background.ensure("recount", self._recount)

    async def _merge(self, outage: Outage) -> None:
        """Bring everything to the server, and give all calls back to it when nothing is left."""
        try:
            while not self._is_over(outage):
                entry = outage.oldest
                assert entry is not None, "it is not over"
                outcome = await self._merger.land(entry, outage.stands)
                with self._lock:
                    outage.landed()
                self._tell(entry, outcome)
        finally:
            outage.let_all_in()
        self._wakeup.advance()
        log.info("redis_back", away_s=round(self.now_s() - outage.began_at, 1), became=self._told())
        await self._say_it_is_over(outage)

    def _is_over(self, outage: Outage) -> bool:
        """Whether nothing is left to merge; then it ends at the same moment."""
        with self._lock:
            if len(outage):
                return False
            self._outage = None
            return True

    async def _merge_last(self, outage: Outage) -> None:
        """Merge now or never, waiting for one more cheap question."""
        for _ in range(2):
            try:
                return await self._merge(outage)
            except HoldfastError as error:
                last = error
            await asyncio.sleep(refused_for_s(last))
        if len(outage):
            log.error("outage_ends_with_the_process", changes_lost=len(outage), reason=last.message)

    async def _say_it_is_over(self, outage: Outage) -> None:
        """A row in the journal of outages."""
        facts = {"began_at": outage.began_at, "ended_at": self.now_s(), "process": self._process, "why": outage.why}
        facts |= {became.value: count for became, count in self._became.items()}
        body = codec.encode(facts)
        told = codec.encode({"agent": AGENT, "metadata": {"what": f"Redis is back{self._told()}"}})
        change = Change(
            change_id=f"outage:{self._process}:{id(self):x}:{outage.began_at}",
            writes=(Put(key=OUTAGE, body=body, expect=None),),
            events=(NewEvent(key=OUTAGE, name="over", body=told, delta=b'{"full":%b}' % body),),
        )
        await self._redis.commit(Scope.system(), change)

    async def _recount(self) -> None:
        """Until everything that was kept aside was decided about."""
        while self._kept:
            await asyncio.sleep(RECOUNT_EVERY_S)
            try:
                self._kept = len(await unmerged(self._redis, Scope.system()))
            except (Unavailable, CommitUnknown) as error:
                log.info("unmerged_not_counted", reason=error.message)

    def _tell(self, entry: Entry, outcome: Outcome) -> None:
        self._became[outcome.became] += 1
        if outcome.became is Became.LANDED:
            return
        self._kept += outcome.became is Became.KEPT
        is_lost = outcome.became in (Became.KEPT, Became.YIELDED)
        keys = [str(key) for key in entry.keys]
        (log.warning if is_lost else log.info)(f"outage_change_{outcome.became.value}", keys=keys, why=outcome.why)

    def _told(self) -> str:
        """In words what became of the changes of all outages."""
        if not self._outages:
            return ""
        counts = ", ".join(f"{self._became[became]} {became.value}" for became in Became)
        return f"; {self._outages} outages so far, of whose changes {counts}"

    async def _seen(self, record: Record) -> None:
        self._known.keep(record)
        if (outage := self._outage) is not None:  # an answer that was on its way as others gave up
            await outage.learn(record)

    def _policies_of(self, key: Key) -> Mapping[str, FieldPolicy]:
        chosen = self._policies.get(key.kind)
        return {} if chosen is None else chosen(key)

    def _held(self, outage: Outage) -> _Held:
        return _Held(self._lock, lambda: self._outage is outage)


class _Over(Exception):
    """An outage ended while somebody was about to write into it."""


class _Held:
    """The store's lock, while an outage is on."""

    def __init__(self, lock: threading.Lock, is_on: Callable[[], bool]) -> None:
        self._lock = lock
        self._is_on = is_on

    def __enter__(self) -> None:
        self._lock.acquire()
        if not self._is_on():
            self._lock.release()
            raise _Over

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class _StoreTime:
    """The server's time, as this process carries it on."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s

    def time_s(self) -> float:
        return self._now_s()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _failed(name: str, error: BaseException) -> None:
    log.error("fallback_task_failed", task=name, error=repr(error))
