"""What a store in front of another one passes on as it is, said once.

A wrapper says itself what it is there for. Not passed on here is what replaces records past it (`repair`, `restore`,
`load`): whoever keeps some of them in mind must not go on believing it, so each wrapper answers for that. Nor is what
a store may have beside the contract, for then the wrapper has it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Generic, TypeVar

from holdfast.store.contract.history import Stream
from holdfast.store.contract.protocol import OpenStore, Snapshot, Store
from holdfast.store.contract.records import Capabilities, Verification
from holdfast.store.servers.breaker import ServerBreaker, breakers_of

InnerT = TypeVar("InnerT", bound=Store)
OpenT = TypeVar("OpenT", bound=OpenStore)


class Wrapper(Generic[InnerT]):
    """In front of `inner`: its facts, its commits to wait for, and its end."""

    def __init__(self, inner: InnerT) -> None:
        self._inner = inner

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    def now_s(self) -> float:
        return self._inner.now_s()

    def ailment(self) -> str | None:
        return self._inner.ailment()

    async def wait(self, since: int) -> int:
        return await self._inner.wait(since)

    async def close(self) -> None:
        await self._inner.close()


class OpenWrapper(Wrapper[OpenT]):
    """In front of a store that operators work with, too: what they do to it is done to what lies there, as it lies
    there."""

    def server_breakers(self) -> tuple[ServerBreaker, ...]:
        return breakers_of(self._inner)

    async def migrate(self) -> list[str]:
        return await self._inner.migrate()

    async def trim(self, *, before_s: float, keep_per_record: int = 1) -> int:
        return await self._inner.trim(before_s=before_s, keep_per_record=keep_per_record)

    async def verify(self) -> Verification:
        return await self._inner.verify()

    async def backup(self, to: Path) -> Verification:
        return await self._inner.backup(to)

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        return self._inner.snapshot()

    async def adopt(self, streams: Mapping[Stream, int], *, incarnation: int) -> None:
        await self._inner.adopt(streams, incarnation=incarnation)
