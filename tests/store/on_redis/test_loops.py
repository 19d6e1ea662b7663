"""One store and one manager, many loops: whoever asks from wherever is served, and no connection is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Iterator

import pytest
import redis

from holdfast import RedisManager
from holdfast.store.contract.records import Commit
from holdfast.store.redis import RedisStore
from holdfast.store.redis.address import parse
from holdfast.store.redis.calls import Calls
from holdfast.store.redis.writer import BatchWriter
from holdfast.store.servers.clock import ServerTime
from holdfast.store.writing.delivery import waiter
from holdfast.store.writing.intake import Entry
from holdfast.testing.conformance.samples import ANA, change, event, must_read, put
from holdfast.testing.servers import ValkeyServer, free_port


@pytest.fixture
def own_server() -> Iterator[ValkeyServer]:
    """A server on which nobody else counts as a client."""
    with ValkeyServer() as server:
        yield server


def until_none_is_left(server: ValkeyServer) -> None:
    for _ in range(200):
        if server.command("CLIENT", "LIST").count("laddr=") == 1:  # ourselves
            return
        threading.Event().wait(0.05)
    pytest.fail(f"clients are left: {server.command('CLIENT', 'LIST')}")


async def until_heard_by(server: ValkeyServer, listeners: int) -> None:
    for _ in range(3000):
        if server.command("PUBSUB", "NUMSUB", "holdfast:commits").endswith(f":{listeners}\r\n"):
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"expected {listeners} listeners, saw {server.command('PUBSUB', 'NUMSUB', 'holdfast:commits')}")


async def work(store: RedisStore, id_: str, *, times: int = 1) -> None:
    """Commits, reads and hears of it."""
    tick = await store.wait(0)
    for number in range(times):
        await store.commit(ANA, change(put(f"{id_}-{number}"), event(f"{id_}-{number}")))
        assert (await must_read(store, f"{id_}-{number}")).version == 1
    assert await store.wait(tick) > tick


def test_twenty_loops_in_a_row(own_server: ValkeyServer) -> None:
    store = RedisStore(own_server.url)
    for number in range(20):
        asyncio.run(work(store, f"loop{number}"))
    until_none_is_left(own_server)
    asyncio.run(store.close())


def test_four_threads_with_a_loop_each(own_server: ValkeyServer) -> None:
    store = RedisStore(own_server.url)
    together = threading.Barrier(4)
    done: list[str] = []

    def run(id_: str) -> None:
        together.wait(30)
        for turn in range(3):
            asyncio.run(work(store, f"{id_}{turn}", times=10))
        done.append(id_)

    threads = [threading.Thread(target=run, args=(id_,)) for id_ in "wxyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert sorted(done) == list("wxyz")
    asyncio.run(store.close())
    until_none_is_left(own_server)


def test_a_fork_opens_its_own_connections(own_server: ValkeyServer) -> None:
    store = RedisStore(own_server.url)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(work(store, "before"))
    pid = os.fork()
    if pid == 0:
        code = 1
        try:

            async def in_child() -> None:
                await work(store, "child", times=5)
                await store.close()

            asyncio.run(in_child())
            code = 0
        finally:
            os._exit(code)
    loop.run_until_complete(work(store, "beside", times=20))
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    loop.run_until_complete(work(store, "after"))
    loop.run_until_complete(store.close())
    loop.close()
    until_none_is_left(own_server)


def test_a_loop_that_died_without_closing_leaves_no_connection(own_server: ValkeyServer) -> None:
    manager = RedisManager(own_server.url)

    async def use() -> None:
        await (await manager.get_client()).set("key", "value")

    for _ in range(3):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(use())
        loop.close()
    asyncio.run(use())
    until_none_is_left(own_server)
    gc.collect()
    asyncio.run(manager.shutdown())


def test_a_loop_that_died_while_somebody_listened_leaves_no_connection(own_server: ValkeyServer) -> None:
    store = RedisStore(own_server.url)

    async def listen() -> None:
        """Until it is subscribed; then everything is cancelled and nothing closed."""
        waiting = asyncio.ensure_future(store.wait(await store.wait(0)))
        await until_heard_by(own_server, 1)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(waiting, *others, return_exceptions=True)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(listen())
    loop.close()
    asyncio.run(store.close())
    until_none_is_left(own_server)


async def test_whoever_listens_is_heard_again_after_his_connection_was_lost(own_server: ValkeyServer) -> None:
    store, other = RedisStore(own_server.url), RedisStore(own_server.url)
    waiting = asyncio.ensure_future(store.wait(await store.wait(0)))
    await until_heard_by(own_server, 1)
    for _ in range(2):
        own_server.command("CLIENT", "KILL", "TYPE", "pubsub")
        await until_heard_by(own_server, 0)
        await until_heard_by(own_server, 1)
    await other.commit(ANA, change(put("a")))
    async with asyncio.timeout(30):
        await waiting
    await store.close()
    await other.close()


async def test_a_commit_whose_process_dies_before_it_tells_is_heard_of(own_server: ValkeyServer) -> None:
    """It is counted by the commit itself, and whoever waits looks at the count."""
    store, dying = RedisStore(own_server.url), Calls(parse(own_server.url), ServerTime())
    tick = await store.wait(0)
    [written] = await BatchWriter(dying, ServerTime(), on_committed=_tells_nobody).write(
        [Entry(change(put("a")), waiter(), payload_bytes=2)]
    )
    assert isinstance(written, Commit)
    async with asyncio.timeout(30):
        assert await store.wait(tick) > tick
    await dying.close()
    await store.close()


async def _tells_nobody() -> None:
    """Dead by then."""


async def test_five_agents_on_shared_infrastructure(own_server: ValkeyServer) -> None:
    manager = RedisManager(own_server.url)
    await manager.initialize()

    async def agent(number: int) -> None:
        for turn in range(20):
            client = await manager.get_client()
            await client.set(f"agent:{number}", turn)
            assert int(await client.get(f"agent:{number}")) == turn
        assert await client.delete(f"agent:{number}") == 1
        assert await client.get(f"agent:{number}") is None

    await asyncio.gather(*(agent(number) for number in range(5)))
    assert await manager.ping()
    first = await manager.get_client()
    assert await manager.get_client() is first
    await manager.shutdown()
    assert await manager.get_client() is not first
    await manager.shutdown()


async def test_a_manager_without_a_server_says_so() -> None:
    manager = RedisManager(f"redis://ana:hunter2@127.0.0.1:{free_port()}/0")
    assert "hunter2" not in repr(manager)
    assert not await manager.ping()
    with pytest.raises(redis.exceptions.ConnectionError, match="connecting"):
        await manager.initialize()
    await manager.shutdown()
