"""What is done to the processes, the network and the servers of a soak, drawn from its seed, healed each time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from holdfast.clock import Randomness
from holdfast.testing.network import TcpProxy
from holdfast.testing.soak.cluster import Cluster
from holdfast.testing.soak.processes import Place

T = TypeVar("T")
Inflict = Callable[[], Awaitable[None]]
DELAY_S_MAX = 0.3


class Tormentor:
    """Two lanes at once, one for the processes and one for what they depend on: so a process dies while a server
    restarts. Each lane deals its torments as cards: none comes a third time before all came once."""

    def __init__(self, cluster: Cluster, places: Sequence[Place], draw: Randomness, *, lease_ttl_s: float) -> None:
        self._cluster = cluster
        self._places = places
        self._draw = draw
        self._lease_ttl_s = lease_ttl_s
        self.counts: Counter[str] = Counter()
        self.now: dict[int, str] = {}

    async def torment(self, lasting_s: float) -> None:
        """For so many seconds; what was begun is ended and healed, so that nothing is down or silent afterwards."""
        until_s = asyncio.get_running_loop().time() + lasting_s
        async with asyncio.TaskGroup() as lanes:
            for number, cards in enumerate((self._on_processes(), self._on_servers())):
                if cards:
                    lanes.create_task(self._lane(number, cards, until_s))

    async def _lane(self, number: int, cards: dict[str, Inflict], until_s: float) -> None:
        loop = asyncio.get_running_loop()
        hand = list(cards)
        while loop.time() < until_s:
            await asyncio.sleep(self._lasting_s(0.3, 1.5))
            hand = hand or list(cards)
            name = hand.pop(int(self._draw.random() * len(hand)))
            self.now[number] = name
            await cards[name]()
            self.counts[name] += 1
            self.now.pop(number)

    def _on_processes(self) -> dict[str, Inflict]:
        return {"kill": self._kill, "stand still": self._stand_still}

    def _on_servers(self) -> dict[str, Inflict]:
        cards: dict[str, Inflict] = {}
        if self._cluster.links[0].proxies:
            cards |= {
                "delay": self._delay,
                "cut": self._cut,
                "refuse": self._refuse,
                "half-open": self._half_open,
                "partition": self._partition,
            }
        if self._cluster.postgres is not None:
            cards |= {
                "restart immediate": lambda: self._restart_postgres("immediate"),
                "restart fast": lambda: self._restart_postgres("fast"),
            }
        if self._cluster.valkey is not None:
            cards["restart cache"] = self._restart_valkey
        return cards

    async def _kill(self) -> None:
        await self._one([place for place in self._places if not place.is_kept]).kill()

    async def _stand_still(self) -> None:
        """Longer than the lease: others take over, and then it wakes."""
        place = self._one(self._places)
        place.stop()
        try:
            await asyncio.sleep(self._lasting_s(1.2, 2.5))
        finally:
            place.go_on()

    async def _delay(self) -> None:
        proxy = self._one(self._all_proxies())
        await self._for_a_while([proxy], lambda each: each.delay(self._draw.random() * DELAY_S_MAX))

    async def _cut(self) -> None:
        for proxy in self._all_proxies():
            proxy.cut()

    async def _refuse(self) -> None:
        await self._for_a_while([self._one(self._all_proxies())], TcpProxy.refuse)

    async def _half_open(self) -> None:
        await self._for_a_while([self._one(self._all_proxies())], TcpProxy.silence)

    async def _partition(self) -> None:
        """One process is alone."""
        links = self._one(self._cluster.links)
        await self._for_a_while(list(links.proxies.values()), TcpProxy.silence)

    async def _restart_postgres(self, mode: str) -> None:
        server = self._cluster.postgres
        assert server is not None
        await asyncio.to_thread(server.restart, mode=mode)

    async def _restart_valkey(self) -> None:
        server = self._cluster.valkey
        assert server is not None

        def restart() -> None:
            server.kill()
            server.start()

        await asyncio.to_thread(restart)

    async def _for_a_while(self, proxies: Sequence[TcpProxy], spoil: Callable[[TcpProxy], None]) -> None:
        delivers = self._draw.random() < 0.5
        for proxy in proxies:
            spoil(proxy)
        try:
            await asyncio.sleep(self._lasting_s(0.5, 3.0))
        finally:
            for proxy in proxies:
                proxy.heal(delivers=delivers)

    def _all_proxies(self) -> list[TcpProxy]:
        return [proxy for links in self._cluster.links for proxy in links.proxies.values()]

    def _lasting_s(self, least: float, most: float) -> float:
        """A duration in leases."""
        return self._lease_ttl_s * (least + self._draw.random() * (most - least))

    def _one(self, choices: Sequence[T]) -> T:
        return choices[int(self._draw.random() * len(choices))]

    def __repr__(self) -> str:
        return f"Tormentor({dict(self.counts)})"
