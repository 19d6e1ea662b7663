"""What waits to be put into the cache: the newest entry of each key, put in batches off the path of whoever commits.

Nobody who commits waits for Redis: a put that fails does not undo the commit, so waiting would only make it slow. Until
a commit of this process is put, this process reads its record from the truth.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from holdfast.clock import monotonic_s
from holdfast.store.contract.records import Key
from holdfast.store.mirror.cache import Cache, CacheLost
from holdfast.store.mirror.figures import Tally
from holdfast.store.mirror.link import Link
from holdfast.store.mirror.rules import Entry, Promise, left_ms
from holdfast.store.writing.background import Background

BATCH_MAX = 500


class _Waiting(NamedTuple):
    entry: Entry
    committed_at_s: float | None
    """On our monotonic clock; None for what was only read."""


class Puts:
    """The queue, at most `queue_max` long. `now_s`: the store's time."""

    def __init__(
        self,
        cache: Cache,
        link: Link,
        background: Background,
        promise: Promise,
        tally: Tally,
        *,
        now_s: Callable[[], float],
    ) -> None:
        self._cache = cache
        self._link = link
        self._background = background
        self._promise = promise
        self._tally = tally
        self._now_s = now_s
        self._lock = threading.Lock()
        self._queue: dict[Key, _Waiting] = {}
        self._under_way: Mapping[Key, _Waiting] = {}
        self._is_idle = True

    def committed(self, entries: Iterable[Entry]) -> None:
        """Put what a commit of ours wrote."""
        self._add(entries, monotonic_s())

    def was_read(self, entries: Iterable[Entry]) -> None:
        """Put what was read from the truth, if there is room."""
        if self._link.is_up and len(self._queue) < self._promise.queue_max:
            self._add(entries, None)

    def unknown(self, keys: Iterable[Key]) -> Collection[Key]:
        """Those of `keys` that we committed and that the cache does not know yet."""
        with self._lock:
            places = (self._queue, self._under_way)
            return {key for key in keys for place in places if key in place and place[key].committed_at_s is not None}

    @property
    def queued(self) -> int:
        """How many entries wait, or are being put."""
        return len(self._queue) + len(self._under_way)

    @property
    def lag_s(self) -> float:
        """Seconds from COMMIT to put: the last batch's, or that of what still waits if it is more."""
        with self._lock:
            waiting = [*self._queue.values(), *self._under_way.values()]
        began = [each.committed_at_s for each in waiting if each.committed_at_s is not None]
        return max(self._tally.lag_s, monotonic_s() - min(began) if began else 0.0)

    async def flush(self) -> None:
        """Returns when nothing waits any more: it was put, or the cache was lost."""
        while self.queued and self._link.is_up:
            if (drain := self._background.ensure("put", self._drain)) is None:
                return
            await asyncio.wait([drain])

    def _add(self, entries: Iterable[Entry], committed_at_s: float | None) -> None:
        with self._lock:
            for entry in entries:
                self._queue_up(entry, committed_at_s)
            is_full = len(self._queue) > self._promise.queue_max
            is_over, self._is_idle = self._is_idle, False
        if is_full:
            self._give_up()
        self._background.ensure("put", self._drain, is_over=is_over)

    def _queue_up(self, entry: Entry, committed_at_s: float | None) -> None:
        waiting = self._queue.get(entry.record.key)
        if waiting is None:
            self._queue[entry.record.key] = _Waiting(entry, committed_at_s)
        elif waiting.entry.order < entry.order:
            since = committed_at_s if waiting.committed_at_s is None else waiting.committed_at_s
            self._queue[entry.record.key] = _Waiting(entry, since)

    async def _drain(self) -> None:
        while batch := self._take():
            life = self._link.life if self._link.is_up else b""
            try:
                await self._put(life, batch)
            except CacheLost as error:
                self._link.lost(error, life=life)
                self._give_up()
            except BaseException:  # this loop ends: nobody can say what was put
                self._give_up()
                self._is_idle = True
                raise

    def _take(self) -> Mapping[Key, _Waiting]:
        with self._lock:
            self._under_way = {key: self._queue.pop(key) for key in list(self._queue)[:BATCH_MAX]}
            self._is_idle = not self._under_way
            return self._under_way

    async def _put(self, life: bytes, batch: Mapping[Key, _Waiting]) -> None:
        if not life:
            raise CacheLost("it is away")
        now_s, lives_s = self._now_s(), self._promise.lives_s
        entries = [(each.entry, left_ms(each.entry, now_s=now_s, lives_s=lives_s)) for each in batch.values()]
        fit = [(entry, left) for entry, left in entries if left > 0]
        kept = await self._cache.put(life, fit)
        self._tally.puts += kept
        self._tally.outdated += len(fit) - kept
        began = [each.committed_at_s for each in batch.values() if each.committed_at_s is not None]
        if began:
            self._tally.lag_s = monotonic_s() - min(began)

    def _give_up(self) -> None:
        """Drop all that waits; where commits are among it, nobody may believe what the cache holds."""
        with self._lock:
            dropped = [*self._queue.values(), *self._under_way.values()]
        if any(each.committed_at_s is not None for each in dropped):
            self._link.owe()
        with self._lock:
            self._queue, self._under_way = {}, {}

    def __repr__(self) -> str:
        return f"Puts(queued={self.queued})"
