"""Work that leaves the loop, made visible: calls to a store that are under way, sync functions that run in threads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_futures
from typing import Any, TypeVar

from holdfast.errors import InvalidInput
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import (
    Change,
    Claim,
    Commit,
    Event,
    Key,
    Page,
    Position,
    Query,
    Record,
    Scope,
)
from holdfast.store.wrapping.wrapper import Wrapper
from holdfast.testing.virtual_clock import is_in_store
from holdfast.workflow.upkeep.keeper import Trims

T = TypeVar("T")

WAIT_IN_TURN_S = 0.5
"""Real seconds for which the loop stands still for a sync function."""


class WatchedStore(Wrapper[Store]):
    """`inner`, counting its calls. `calls`: how many of each method; `under_way`: how many have no answer yet."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.calls: Counter[str] = Counter()
        self.under_way = 0

    async def read(self, scope: Scope, keys: Sequence[Key]) -> list[Record | None]:
        return await self._watch("read", self._inner.read(scope, keys))

    async def scan(self, scope: Scope, query: Query, *, after: str | None = None, limit: int = 100) -> Page:
        return await self._watch("scan", self._inner.scan(scope, query, after=after, limit=limit))

    async def commit(self, scope: Scope, change: Change) -> Commit:
        return await self._watch("commit", self._inner.commit(scope, change))

    async def claim(self, scope: Scope, claim: Claim) -> list[Record]:
        return await self._watch("claim", self._inner.claim(scope, claim))

    async def events(
        self,
        scope: Scope,
        *,
        record: Key | None = None,
        stream: tuple[str, str] | None = None,
        after: Position | None = None,
        after_version: int = 0,
        limit: int = 1000,
    ) -> list[Event]:
        found = self._inner.events(
            scope, record=record, stream=stream, after=after, after_version=after_version, limit=limit
        )
        return await self._watch("events", found)

    async def trim(self, *, before_s: float, keep_per_record: int = 1) -> int:
        if not isinstance(self._inner, Trims):
            raise InvalidInput(f"lab: expected a store whose journals can be trimmed, saw {self._inner!r}")
        return await self._watch("trim", self._inner.trim(before_s=before_s, keep_per_record=keep_per_record))

    async def _watch(self, method: str, call: Awaitable[T]) -> T:
        self.calls[method] += 1
        self.under_way += 1
        token = is_in_store.set(True)
        try:
            return await call
        finally:
            is_in_store.reset(token)
            self.under_way -= 1

    def __repr__(self) -> str:
        return f"WatchedStore({self._inner!r}, calls={dict(self.calls)}, under_way={self.under_way})"


class InTurnExecutor(Executor):
    """Runs each call in a thread and waits for it, so that calls end in the order in which they began.

    One that takes longer than `WAIT_IN_TURN_S` seconds goes on beside the loop and counts as `under_way`.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(thread_name_prefix="holdfast-lab")
        self._under_way: set[Future[Any]] = set()

    @property
    def under_way(self) -> int:
        """How many calls have not ended."""
        return sum(not future.done() for future in tuple(self._under_way))

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future = self._threads.submit(fn, *args, **kwargs)
        wait_for_futures([future], timeout=WAIT_IN_TURN_S)
        if not future.done():
            self._under_way.add(future)
            future.add_done_callback(self._under_way.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._threads.shutdown(wait, cancel_futures=cancel_futures)

    def __repr__(self) -> str:
        return f"InTurnExecutor(under_way={self.under_way})"
