"""Users who do something beside runs, through whichever node is up: they count, transfer, order, publish and follow.

Each remembers what he was told. What was acknowledged must be there, and once; what nobody knows may be there.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

from holdfast.agents.tools.rules import ToolFailed
from holdfast.clock import Randomness
from holdfast.context import UserExecutionContext
from holdfast.errors import CommitUnknown, Conflict, Fenced, HoldfastError, NotFound, Unavailable
from holdfast.state.transaction import StateTransaction
from holdfast.store.contract.records import Position
from holdfast.testing.simulation.desk import ORDER, Desk
from holdfast.testing.simulation.draws import Act, Deed
from holdfast.testing.simulation.node import Node, NodeDown
from holdfast.testing.simulation.sharing import COUNTER, PURSE, PURSES, TOTAL
from holdfast.users.stream import StreamEvent, StreamItem

T = TypeVar("T")

PATIENCE_S = 4.0
"""How long somebody waits for one answer before he asks again, perhaps elsewhere."""
PAUSE_S_MAX = 1.0
PAGE_S = 0.5
"""How long who follows a stream goes on before he comes back with his cursor, perhaps elsewhere."""
NOTE = "guest.note"
FAR = (CommitUnknown, NodeDown, TimeoutError)
"""Nobody knows what came of it."""
NOTHING = (Unavailable, Conflict, Fenced, ToolFailed)
"""Nothing came of it."""


class Guest:
    """Whoever does one `act`. `problems`: what should not have been told to him."""

    def __init__(self, act: Act, name: str, nodes: Sequence[Node], chance: Randomness) -> None:
        self.act = act
        self.name = name
        self.context = UserExecutionContext(user=act.user)
        self.problems: list[str] = []
        self.met: Counter[str] = Counter()
        self.is_done = False
        self.counted = self.uncertain = 0
        """Increments that were acknowledged, and those of which nobody knows."""
        self.published: dict[Position, str] = {}
        self.orders: list[str] = []
        self.read: list[StreamEvent] = []
        self.last = "not begun"
        self._nodes = nodes
        self._chance = chance

    async def live(self) -> None:
        """Until all is done."""
        deeds: dict[Deed, Callable[[int], Awaitable[object]]] = {
            Deed.COUNT: self._count,
            Deed.TRANSFER: self._transfer,
            Deed.CHECKPOINT: self._checkpoint,
            Deed.ORDER: self._order,
            Deed.PUBLISH: self._publish,
        }
        await asyncio.sleep(self.act.at_s)
        try:
            for number in range(self.act.times):
                await deeds[self.act.deed](number)
                await asyncio.sleep(self._chance.random() * PAUSE_S_MAX)
        except (HoldfastError, AssertionError, ValueError, TypeError, KeyError, RuntimeError) as error:
            self.problems.append(f"{self.name}: {error!r}")
        self.is_done = True

    async def follow_to(self, end: int) -> None:
        """Read on until the event with the number `end` of his stream, or until `problems`."""
        while not self.problems and (self.read[-1].position.seq if self.read else 0) < end:
            await self._follow()

    # -- what users do ------------------------------------------------------------------------------------------

    async def _count(self, _: int) -> None:
        try:
            await self._ask(self._increment)
        except FAR:
            self.uncertain += 1
        except NOTHING:
            return
        else:
            self.counted += 1
            self.met["counted"] += 1

    async def _increment(self, desk: Desk) -> object:
        return await desk.state.update(
            self.context, COUNTER, lambda value: value + 1, int, initial=0, shared=self.act.is_shared
        )

    async def _transfer(self, _: int) -> None:
        amount = int(self._chance.random() * 20) - 10

        async def move(t: StateTransaction) -> None:
            found = [await t.find(path, int) for path in PURSES]
            left, right = (TOTAL // 2 if each is None else each.value for each in found)
            await t.set(PURSES[0], left - amount)
            await t.set(PURSES[1], right + amount)

        try:
            await self._ask(lambda desk: desk.state.transact(self.context, move, attempts_max=20))
        except (*FAR, *NOTHING):
            return
        self.met["transferred"] += 1

    async def _checkpoint(self, number: int) -> None:
        """Keep both purses, and after a while make them what they were."""
        kept = f"{self.name}.{number}"
        try:
            await self._ask(lambda desk: desk.state.checkpoint(self.context, kept, prefix=PURSE))
            await asyncio.sleep(self._chance.random() * PAUSE_S_MAX)
            await self._ask(lambda desk: desk.state.restore(self.context, kept))
        except (*FAR, *NOTHING, NotFound):
            return
        self.met["restored"] += 1

    async def _order(self, number: int) -> None:
        """Until it is acknowledged; and once more, which is to give the same."""
        key = f"{self.name}.{number}"
        arguments = {"number": key}
        told = [await self._surely(lambda desk: desk.tools.call(self.context, ORDER, arguments, key=key)) for _ in "ab"]
        self.orders.append(key)
        self.met["ordered"] += 1
        if told[0] != told[1]:
            self.problems.append(f"{self.name}: order {key} gave the receipt {told[0]}, and then {told[1]}")

    async def _publish(self, number: int) -> None:
        text = f"{self.name}.{number}"
        try:
            position = await self._ask(
                lambda desk: desk.streams.publish(self.context, NOTE, {"of": self.context.user, "text": text})
            )
        except (*FAR, *NOTHING):
            pass
        else:
            self.published[position] = text
            self.met["published"] += 1
        await self._follow()

    async def _follow(self) -> None:
        """Go on behind the last event that he saw."""
        after = self.read[-1].position if self.read else Position(0, 0)
        try:
            found = await self._ask(lambda desk: self._page(desk, after))
        except (*FAR, *NOTHING):
            await asyncio.sleep(PAGE_S)
            return
        for item in found:
            self.problems += self._amiss(item)
            if isinstance(item, StreamEvent):
                self.read.append(item)
                self.met["followed"] += 1

    async def _page(self, desk: Desk, after: Position) -> list[StreamItem]:
        found: list[StreamItem] = []
        try:
            async with asyncio.timeout(PAGE_S):
                async for item in desk.streams.stream(self.context, after=after):
                    found.append(item)  # noqa: PERF401 - what came before the time is over counts
        except TimeoutError:  # nothing more comes for now
            return found
        return found

    def _amiss(self, item: StreamItem) -> Iterator[str]:
        if not isinstance(item, StreamEvent):
            yield f"{self.name}: was given a snapshot ({item.reason}), though nothing of his stream is gone"
            return
        expected = self.read[-1].position.seq + 1 if self.read else 1
        if item.position.seq != expected:
            yield f"{self.name}: expected event {expected} of his stream, was given {item.position.seq}"
        if item.name == NOTE and item.data["of"] != self.context.user:
            yield f"{self.name}: was given an event of {item.data['of']}"

    # -- asking -------------------------------------------------------------------------------------------------

    async def _surely(self, work: Callable[[Desk], Awaitable[T]]) -> T:
        """The answer, however often it takes."""
        while True:
            try:
                return await self._ask(work)
            except (*FAR, *NOTHING) as error:
                self.last = repr(error)[:200]
                await asyncio.sleep(self._chance.random() * PAUSE_S_MAX)

    async def _ask(self, work: Callable[[Desk], Awaitable[T]]) -> T:
        node = self._nodes[int(self._chance.random() * len(self._nodes))]

        async def at_its_desk(_: Any) -> T:
            if node.desk is None:
                raise NodeDown(f"node {node.number}: it has no desk")
            return await work(node.desk)

        async with asyncio.timeout(PATIENCE_S):
            return await node.call(at_its_desk)

    def __repr__(self) -> str:
        return f"Guest({self.context.user}, {self.name}, {self.act.deed.value}: {self.last})"
