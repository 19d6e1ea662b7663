"""Several engines on one store in virtual time, each with a network of its own to the same dependencies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from msgspec.structs import replace

from holdfast import Engine
from holdfast.clock import seeded_randomness
from holdfast.errors import BreakerOpen
from holdfast.resilience.graph import Dependency
from holdfast.store.contract.records import Capabilities
from holdfast.store.memory import MemoryStore
from holdfast.testing import FaultyStore
from tests.resilience.world import Down, LoopClock, World

LAG_S = 1.5
"""Within what time others follow: two looks, and what a commit takes."""


class SharedMemory(MemoryStore):
    """Memory that says of itself that several processes share it: here they are engines."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, durable=True, many_processes=True)


class Member:
    """One engine: its world, and its own way to the store, which can be cut."""

    def __init__(
        self, number: int, memory: SharedMemory, nodes: tuple[Dependency, ...], *, has_probes: bool, **options: Any
    ) -> None:
        self.world = World(*nodes, seed=number, has_probes=has_probes, **options)
        self.store = FaultyStore(memory)
        self.engine = Engine(
            self.store,
            clock=LoopClock(),
            randomness=seeded_randomness(number),
            dependencies=self.world.dependencies,
        )

    def state(self, name: str) -> str:
        return self.world.dependencies.breaker(name).state

    def reason(self, name: str) -> str:
        return self.world.dependencies.breaker(name).look().reason

    async def call(self, name: str, times: int, *, every_s: float = 0.05) -> None:
        for _ in range(times):
            with suppress(Down, BreakerOpen):
                await self.world.call(name)
            await asyncio.sleep(every_s)


class Crowd:
    """`size` members on one memory."""

    def __init__(self, size: int, *nodes: Dependency, has_probes: bool = True, **options: Any) -> None:
        self.nodes, self.has_probes, self.options = nodes, has_probes, options
        self.memory = SharedMemory(clock=LoopClock())
        self.members = [self.member(number) for number in range(1, size + 1)]

    def member(self, number: int) -> Member:
        """One more, not yet open."""
        return Member(number, self.memory, self.nodes, has_probes=self.has_probes, **self.options)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[list[Member]]:
        async with AsyncExitStack() as exit:
            for member in self.members:
                await exit.enter_async_context(member.engine)
            await asyncio.sleep(LAG_S)
            yield self.members

    def states(self, name: str) -> list[str]:
        return [member.state(name) for member in self.members]

    def probes(self, name: str) -> list[tuple[float, int]]:
        """When which member probed it, in order."""
        return sorted(
            (at, number)
            for number, member in enumerate(self.members, start=1)
            for at, probed in member.world.probes
            if probed == name
        )

    async def until(self, is_so: Callable[[], bool], *, within_s: float) -> None:
        until = asyncio.get_running_loop().time() + within_s
        while not is_so():
            assert asyncio.get_running_loop().time() < until, f"not so after {within_s} s"
            await asyncio.sleep(0.05)
