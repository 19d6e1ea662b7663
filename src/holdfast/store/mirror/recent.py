"""Reads that tolerate a bounded staleness: from the cache where it can be believed, else from the truth, once a key."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from holdfast.errors import HoldfastError
from holdfast.store.contract.records import Key, Record, Scope
from holdfast.store.mirror.cache import Cache, CacheLost
from holdfast.store.mirror.figures import Tally
from holdfast.store.mirror.generation import Generation
from holdfast.store.mirror.link import Link
from holdfast.store.mirror.puts import Puts
from holdfast.store.mirror.rules import CACHED_KINDS, Entry, Promise, is_good, micros, unpacked
from holdfast.store.writing.background import Background
from holdfast.store.writing.delivery import copy_of
from holdfast.store.writing.gathering import Gathering

TOGETHER_MAX = 100
"""Readers whose keys are looked up by one command."""
Found = dict[Key, Record | None]
Read = Callable[[Scope, Sequence[Key]], Awaitable[list[Record | None]]]
_Flight = asyncio.Task[Found | HoldfastError]


class Recent:
    """`read` asks the truth. A key that several ask for at once is asked of it once."""

    def __init__(
        self,
        read: Read,
        cache: Cache,
        link: Link,
        puts: Puts,
        generation: Generation,
        background: Background,
        promise: Promise,
        tally: Tally,
        *,
        now_s: Callable[[], float],
    ) -> None:
        self._read = read
        self._cache = cache
        self._link = link
        self._puts = puts
        self._generation = generation
        self._background = background
        self._promise = promise
        self._tally = tally
        self._now_s = now_s
        self._looks: Gathering[Sequence[Key], list[bytes | None] | CacheLost] = Gathering(
            self._look, at_most=TOGETHER_MAX, at_once=2
        )
        self._flights: dict[tuple[asyncio.AbstractEventLoop, Key], _Flight] = {}

    async def read(
        self, scope: Scope, keys: Sequence[Key], least_versions: Sequence[int] | None
    ) -> list[Record | None]:
        """The records of `keys`, each at least as new as its least version."""
        least = dict(zip(keys, least_versions or (0,) * len(keys), strict=True))
        asked = [key for key in dict.fromkeys(keys) if scope.covers(key) and key.kind in CACHED_KINDS]
        self._link.tend()
        if not self._link.is_usable or not asked:
            self._tally.bypasses += len(keys)
            return await self._read(scope, keys)
        generation = await self._generation.fresh()
        found = await self._cached(asked, generation, least)
        self._tally.hits += len(found)
        missing = [key for key in dict.fromkeys(keys) if key not in found and scope.covers(key)]
        self._tally.misses += len(missing)
        if missing:
            found |= await self._of_truth(scope, missing, generation, least)
        return [found.get(key) for key in keys]

    def forget(self, rows: Iterable[Key]) -> None:
        """These were written just now: whoever asks from now on does not wait for a read that began before."""
        if self._flights:
            loop = asyncio.get_running_loop()
            for key in rows:
                self._flights.pop((loop, key), None)

    async def _cached(self, keys: Sequence[Key], generation: int, least: Mapping[Key, int]) -> Found:
        """What the cache has that may be believed."""
        unknown = self._puts.unknown(keys)
        asked = [key for key in keys if key not in unknown]
        if not asked:
            return {}
        life = self._link.life
        answers = await self._looks.ask(life, asked)
        if isinstance(answers, CacheLost):
            self._link.lost(answers, life=life)
            return {}
        if not self._link.is_usable:
            return {}
        unknown = self._puts.unknown(asked)  # once more: one of them may have been committed while we looked
        now_s, lives_s = self._now_s(), self._promise.lives_s
        found: Found = {}
        for key, data in zip(asked, answers, strict=True):
            entry = unpacked(data, key) if data is not None and key not in unknown else None
            if entry is not None and is_good(
                entry, generation=generation, least_version=least[key], now_s=now_s, lives_s=lives_s
            ):
                found[key] = None if entry.deleted else entry.record
        return found

    async def _look(self, life: bytes, asked: Sequence[Sequence[Key]]) -> list[list[bytes | None] | CacheLost]:
        try:
            found = iter(await self._cache.look(life, [key for keys in asked for key in keys]))
        except CacheLost as error:
            return [error for _ in asked]
        return [[next(found) for _ in keys] for keys in asked]

    async def _of_truth(self, scope: Scope, keys: Sequence[Key], generation: int, least: Mapping[Key, int]) -> Found:
        """What the truth has, told to the cache as well."""
        loop = asyncio.get_running_loop()
        joined = {key: self._flights[loop, key] for key in keys if (loop, key) in self._flights}
        mine = [key for key in keys if key not in joined]
        found: Found = {}
        if mine:
            flight = self._background.start(self._fetch(scope, mine, generation), name="read")
            if flight is None:  # the loop ends
                return found | dict(zip(keys, await self._read(scope, keys), strict=True))
            self._flights |= {(loop, key): flight for key in mine}
            flight.add_done_callback(functools.partial(self._landed, loop, mine))
            found |= _of(await asyncio.shield(flight))
        for key, other in joined.items():
            found[key] = _of(await asyncio.shield(other)).get(key)
        late = [key for key in joined if _version(found[key]) < least[key]]
        if late:  # the read that we joined began before what we have seen
            found |= dict(zip(late, await self._read(scope, late), strict=True))
        return found

    async def _fetch(self, scope: Scope, keys: Sequence[Key], generation: int) -> Found | HoldfastError:
        moment = micros(self._now_s())
        try:
            records = await self._read(scope, keys)
        except HoldfastError as error:
            return error
        read = [record for record in records if record is not None and record.key.kind in CACHED_KINDS]
        if read:
            self._puts.was_read(Entry(record, moment, generation) for record in read)
        return dict(zip(keys, records, strict=True))

    def _landed(self, loop: asyncio.AbstractEventLoop, keys: Sequence[Key], flight: _Flight, /) -> None:
        for key in keys:
            if self._flights.get((loop, key)) is flight:
                del self._flights[loop, key]

    def __repr__(self) -> str:
        return f"Recent(under_way={len(self._flights)})"


def _of(answer: Found | HoldfastError) -> Found:
    if isinstance(answer, HoldfastError):
        raise copy_of(answer)
    return answer


def _version(record: Record | None) -> int:
    return 0 if record is None else record.version
