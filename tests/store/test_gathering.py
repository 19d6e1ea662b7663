"""Questions that go together: who waits for whom, and whose trouble is whose."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from holdfast.errors import InvalidInput, Unavailable
from holdfast.store.writing.gathering import Gathering


class Server:
    """Doubles numbers. While it has a `gate`, batches wait at it; a negative number cannot be asked about."""

    def __init__(self, *, at_most: int = 10, at_once: int = 1) -> None:
        self.batches: list[list[int]] = []
        self.has_more = asyncio.Event()
        self.gate: asyncio.Event | None = None
        self.refuses: Exception | None = None
        self.gathering: Gathering[int, int] = Gathering(self.put, at_most=at_most, at_once=at_once)

    async def put(self, group: object, asked: Sequence[int]) -> list[int]:
        self.batches.append(list(asked))
        self.has_more.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.refuses is not None:
            raise self.refuses
        if min(asked) < 0:
            raise InvalidInput("a negative number")
        return [2 * number for number in asked]

    async def until(self, count: int) -> None:
        """Until so many batches have come."""
        while len(self.batches) < count:
            self.has_more.clear()
            await self.has_more.wait()

    async def ask(self, *numbers: int, group: str = "") -> list[int | BaseException]:
        return await asyncio.gather(
            *(self.gathering.ask(group, number) for number in numbers), return_exceptions=True
        )  # fmt: skip


async def test_what_is_asked_in_one_turn_goes_together() -> None:
    server = Server()
    assert await server.ask(1, 2, 3) == [2, 4, 6]
    assert server.batches == [[1, 2, 3]]
    assert await server.ask(4) == [8]
    assert server.batches[1:] == [[4]]


async def test_what_is_asked_meanwhile_goes_next() -> None:
    server = Server(at_most=2)
    server.gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(server.ask(1))
        await server.until(1)
        rest = group.create_task(server.ask(2, 3, 4))
        await asyncio.sleep(0)
        assert server.batches == [[1]]
        server.gate.set()
    assert (first.result(), rest.result()) == ([2], [4, 6, 8])
    assert server.batches == [[1], [2, 3], [4]]


async def test_groups_do_not_wait_for_each_other() -> None:
    server = Server()
    server.gate = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.ask(1, group="a"))
        tasks.create_task(server.ask(2, group="b"))
        await server.until(2)
        server.gate.set()
    assert sorted(server.batches) == [[1], [2]]


async def test_a_value_that_is_refused_is_refused_to_its_sender_alone() -> None:
    server = Server()
    one, bad, two = await server.ask(1, -1, 2)
    assert (one, two) == (2, 4)
    assert isinstance(bad, InvalidInput)


async def test_what_hits_all_is_told_to_each_by_an_error_of_its_own() -> None:
    server = Server()
    server.refuses = Unavailable("away", place="here")
    first, second = await server.ask(1, 2)
    assert isinstance(first, Unavailable)
    assert isinstance(second, Unavailable)
    assert first is not second
    assert first.facts == {"place": "here"}
    server.refuses = None
    assert await server.ask(1) == [2]


async def test_who_goes_away_takes_nobody_along() -> None:
    server = Server()
    server.gate = asyncio.Event()
    leaving = asyncio.ensure_future(server.gathering.ask("", 1))
    staying = asyncio.ensure_future(server.gathering.ask("", 2))
    await server.until(1)
    leaving.cancel()
    server.gate.set()
    assert await staying == 4
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_a_batch_that_everybody_has_left_is_ended() -> None:
    server = Server()
    server.gate = asyncio.Event()
    tasks = [asyncio.ensure_future(server.gathering.ask("", number)) for number in (1, 2)]
    await server.until(1)
    for task in tasks:
        task.cancel()
    server.gate = None
    async with asyncio.timeout(10):
        assert await server.ask(3) == [6]  # the gate was never opened


async def test_who_left_before_his_turn_is_not_asked_for() -> None:
    server = Server()
    server.gate = asyncio.Event()
    first = asyncio.ensure_future(server.gathering.ask("", 1))
    await server.until(1)
    second = asyncio.ensure_future(server.gathering.ask("", 2))
    await asyncio.sleep(0)
    second.cancel()
    server.gate.set()
    assert await first == 2
    assert await server.ask(3) == [6]
    assert server.batches == [[1], [3]]


async def test_an_answer_nobody_expects_reaches_who_asked() -> None:
    server = Server()
    server.refuses = ZeroDivisionError("a bug")
    with pytest.raises(asyncio.CancelledError):
        await server.gathering.ask("", 1)
    server.refuses = None
    assert await server.ask(1) == [2]


def test_every_loop_asks_for_itself_and_one_that_ends_leaves_nothing() -> None:
    server = Server()
    found: list[object] = []

    def ask() -> None:
        found.append(asyncio.run(server.ask(1, 2)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[2, 4]] * 8
    assert server.gathering._lines == {}
