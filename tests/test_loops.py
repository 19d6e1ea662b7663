"""One client per running loop: opened where it is used, closed with its loop, never used from another."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
from collections.abc import Callable

import pytest

from holdfast.errors import Unavailable
from holdfast.loops import CHECK_TIMEOUT_S, LoopBound, close_socket


class Client:
    """Knows the loop it belongs to, and complains in any other."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.pid = os.getpid()
        self.is_closed = self.is_abandoned = False
        self.is_well = True
        self.is_slow = False

    async def use(self) -> None:
        assert asyncio.get_running_loop() is self.loop, "attached to a different loop"
        assert not self.is_closed, "used after it was closed"

    async def close(self) -> None:
        await self.use()
        await asyncio.sleep(0)  # as a client that says goodbye
        self.is_closed = True

    async def ping(self) -> bool:
        await self.use()
        if self.is_slow:
            await asyncio.Event().wait()
        return self.is_well

    def abandon(self) -> None:
        self.is_abandoned = True


class Workshop:
    """Opens clients and remembers them all."""

    def __init__(self, *, check_after_s: float = 3600.0) -> None:
        self.made: list[Client] = []
        self.fails = 0
        self.bound = LoopBound(
            self.make, Client.close, check=Client.ping, abandon=Client.abandon, check_after_s=check_after_s, name="test"
        )

    async def make(self) -> Client:
        await asyncio.sleep(0)
        if self.fails:
            self.fails -= 1
            raise Unavailable("test: away")
        self.made.append(Client())
        return self.made[-1]

    async def use(self) -> Client:
        client = await self.bound.get()
        await client.use()
        return client


def test_one_loop_has_one_client_however_many_ask_at_once() -> None:
    shop = Workshop()

    async def ask() -> None:
        clients = await asyncio.gather(*(shop.use() for _ in range(50)))
        assert len(set(map(id, clients))) == 1
        assert shop.bound.peek() is clients[0]

    asyncio.run(ask())
    assert len(shop.made) == 1


def test_each_of_twenty_loops_in_a_row_has_its_own_and_closes_it() -> None:
    shop = Workshop()
    for _ in range(20):
        asyncio.run(shop.use())  # type: ignore[arg-type]
    assert len(shop.made) == 20
    assert all(client.is_closed for client in shop.made)
    assert len(shop.bound) == 0


def test_threads_with_a_loop_each_never_meet() -> None:
    shop = Workshop()
    together = threading.Barrier(4)
    errors: list[BaseException] = []

    async def work() -> None:
        together.wait(10)
        for _ in range(100):
            await shop.use()

    def run() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert len(shop.made) == 4
    assert all(client.is_closed for client in shop.made)


def test_a_loop_that_was_closed_without_its_clients_leaves_them_to_be_abandoned() -> None:
    shop = Workshop()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(shop.use())
    loop.close()
    asyncio.run(shop.use())  # type: ignore[arg-type]
    assert [(client.is_closed, client.is_abandoned) for client in shop.made] == [(False, True), (True, False)]


def test_closing_closes_those_of_other_loops_in_their_own() -> None:
    shop = Workshop()
    other = asyncio.new_event_loop()
    thread = threading.Thread(target=other.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(shop.use(), other).result(10)

        async def close() -> None:
            await shop.use()
            await shop.bound.close()

        asyncio.run(close())
    finally:
        other.call_soon_threadsafe(other.stop)
        thread.join(10)
        other.close()
    assert [client.is_closed for client in shop.made] == [True, True]


async def test_one_that_is_being_opened_while_all_are_closed_is_closed_as_well() -> None:
    shop = Workshop()
    asking = asyncio.ensure_future(shop.bound.get())
    await asyncio.sleep(0)  # it is being made
    await shop.bound.close()
    with pytest.raises(Unavailable, match="closed while it was being opened"):
        await asking
    assert [client.is_closed for client in shop.made] == [True]
    await shop.use()
    await shop.bound.close()


def test_who_is_cut_off_while_he_closes_comes_to_the_last_one_all_the_same() -> None:
    shop = Workshop()
    others = [asyncio.new_event_loop() for _ in range(2)]
    threads = [threading.Thread(target=loop.run_forever) for loop in others]
    for thread in threads:
        thread.start()
    try:
        for loop in others:
            asyncio.run_coroutine_threadsafe(shop.use(), loop).result(10)

        async def close() -> None:
            await shop.use()
            closing = asyncio.ensure_future(shop.bound.close())
            await asyncio.sleep(0)
            closing.cancel()
            await asyncio.wait([closing])
            assert closing.cancelled()

        asyncio.run(close())
    finally:
        for loop, thread in zip(others, threads, strict=True):
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.run_until_complete(asyncio.sleep(0.01))
            loop.close()
    assert [client.is_closed for client in shop.made] == [True, True, True]


async def test_one_that_has_ended_opens_none_any_more() -> None:
    shop = Workshop()
    await shop.use()
    await shop.bound.end()
    assert shop.made[0].is_closed
    with pytest.raises(Unavailable, match="closed for good"):
        await shop.use()


def test_a_child_of_a_fork_opens_its_own_and_leaves_the_parents_alone() -> None:
    shop = Workshop()
    loop = asyncio.new_event_loop()
    parents = loop.run_until_complete(shop.use())
    pid = os.fork()
    if pid == 0:
        ok = False
        try:

            async def in_child() -> bool:
                mine = await shop.use()
                return mine is not parents and mine.pid == os.getpid() and not parents.is_closed

            ok = asyncio.run(in_child()) and not parents.is_closed and not parents.is_abandoned
            gc.collect()
        finally:
            os._exit(0 if ok else 1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert loop.run_until_complete(shop.use()) is parents
    loop.run_until_complete(shop.bound.close())
    loop.close()
    assert parents.is_closed


@pytest.mark.parametrize(
    "ill", [lambda client: setattr(client, "is_well", False), lambda client: setattr(client, "is_slow", True)]
)
def test_a_client_that_does_not_answer_is_opened_anew(ill: Callable[[Client], None]) -> None:
    """Within 0.1 s, however long its silence lasts."""
    shop = Workshop(check_after_s=0.0)

    async def work() -> float:
        first = await shop.use()
        assert await shop.use() is first
        ill(first)
        loop = asyncio.get_running_loop()
        began = loop.time()
        second = await shop.use()
        assert second is not first
        assert first.is_closed
        return loop.time() - began

    assert asyncio.run(work()) < CHECK_TIMEOUT_S + 5.0


def test_a_client_in_use_is_not_asked() -> None:
    shop = Workshop(check_after_s=3600.0)

    async def work() -> None:
        first = await shop.use()
        first.is_well = False
        assert await shop.use() is first

    asyncio.run(work())


def test_a_client_that_cannot_be_opened_is_tried_again_with_the_next_call() -> None:
    shop = Workshop()
    shop.fails = 1

    async def work() -> None:
        with pytest.raises(Unavailable, match="away"):
            await shop.use()
        await shop.use()

    asyncio.run(work())


def test_renewing_closes_one_and_opens_another() -> None:
    shop = Workshop()

    async def work() -> None:
        first = await shop.use()
        await shop.bound.renew()
        assert shop.bound.peek() is None
        assert await shop.use() is not first
        assert first.is_closed

    asyncio.run(work())


def test_the_socket_below_a_dead_loop_is_closed() -> None:
    """No warning that nobody closed it, and the peer sees the end."""
    server = socket.create_server(("127.0.0.1", 0))
    loop = asyncio.new_event_loop()
    _, writer = loop.run_until_complete(asyncio.open_connection(*server.getsockname()))
    peer, _ = server.accept()
    transport = writer.transport
    loop.close()
    close_socket(transport)
    peer.settimeout(10)
    assert peer.recv(1) == b""
    peer.close()
    server.close()
    del writer, transport
    gc.collect()
