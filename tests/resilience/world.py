"""A world in virtual time: dependencies that are up or down when they are told, and people who call them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from holdfast.resilience.dependencies import Dependencies, DependencyEvent
from holdfast.resilience.graph import Dependency
from holdfast.testing.simulation.loop import simulated_loop

T = TypeVar("T")


class LoopClock:
    """The time of the running loop."""

    def time_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Down(ConnectionError):
    """What a call to something that is down raises."""


class World:
    """What is down, who was called and probed when, and what was told."""

    def __init__(self, *nodes: Dependency, seed: int = 1, has_probes: bool = True, **options: Any) -> None:
        self.down: set[str] = set()
        self.hangs = False
        """Whether probes never come back."""
        self.calls: list[tuple[float, str, bool]] = []
        self.probes: list[tuple[float, str]] = []
        self.refusals = Counter[str]()
        self.events: list[DependencyEvent] = []
        self.chance = random.Random(seed)
        declared = [self._with_probe(node) if has_probes else node for node in nodes]
        self.dependencies = Dependencies(*declared, clock=LoopClock(), randomness=self.chance, **options)
        self.dependencies.listen(self.events.append)

    async def call(self, name: str) -> None:
        """A call that needs all that `name` needs, as an agent's would: it fails by whatever is down."""

        async def work() -> None:
            await asyncio.sleep(0.01)
            self.calls.append((asyncio.get_running_loop().time(), name, name not in self.down))
            if name in self.down:
                raise Down(name)
            for need in self.dependencies.graph.nodes[name].needs:
                await self.call(need)

        await self.dependencies.on(name).call(work)

    def states(self) -> dict[str, str]:
        return {name: self.dependencies.breaker(name).state for name in self.dependencies.graph.order}

    def told(self, kind: str) -> list[str]:
        return [event.name for event in self.events if event.kind == kind]

    def _with_probe(self, node: Dependency) -> Dependency:
        async def probe() -> None:
            self.probes.append((asyncio.get_running_loop().time(), node.name))
            await asyncio.sleep(1000.0 if self.hangs else 0.01)
            if node.name in self.down:
                raise Down(node.name)

        return Dependency(
            name=node.name,
            kind=node.kind,
            needs=node.needs,
            wants=node.wants,
            recovery_s=node.recovery_s,
            options=node.options,
            probe=probe,
        )


def in_virtual_time(work: Callable[[], Coroutine[Any, Any, T]], *, seed: int = 1) -> T:
    """What `work()` gives, on a loop whose time passes by itself."""
    loop = simulated_loop(random.Random(seed))
    try:
        return loop.run_until_complete(work())
    finally:
        loop.close()
