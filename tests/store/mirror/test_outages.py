"""Whatever happens to the cache, no call fails, none takes long, nobody goes back in time, and it ends well."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator

import pytest

from holdfast.clock import monotonic_s
from holdfast.errors import Unavailable
from holdfast.testing.servers import ValkeyServer
from tests.store.mirror.history import History
from tests.store.mirror.truths import (
    Database,
    Proxy,
    cache_at,
    closing,
    mirror_of,
    put,
    run_key,
    snapshot_of,
    until,
    unused,
    usable,
    version_of,
)

KEY = run_key()
EXTRA_S = 0.15
"""What an outage may cost one call."""
ATTEMPTS = 4
"""A crowded machine makes any call slow now and then; a call that is slow by design is slow each time."""
EVERY_S = 0.1


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    """A Valkey of this test's own, to be treated badly."""
    with ValkeyServer() as server:
        yield server


class Stage:
    """A process under test, another one, and what both do all the time."""

    def __init__(self, server: ValkeyServer, *, url: str | None = None) -> None:
        self.database = Database()
        self.history = History()
        url = url or server.url
        # The budget is the real one: this is what the test is about.
        self.store = mirror_of(self.database, cache_at(url, "stage", budget_s=0.1), generation_every_s=EVERY_S)
        self.other = mirror_of(self.database, cache_at(url, "stage", budget_s=0.1), generation_every_s=EVERY_S)
        self.slowest_s = 0.0
        self._least = 0

    async def calls(self, count: int = 30) -> None:
        """Writes and looks; each is timed, and each look must see what its process has seen."""
        self.slowest_s = 0.0
        for _ in range(count):
            self._least = await self._timed(self.history.write(self.store, KEY))
            await self._timed(self.history.read(self.store, KEY, least=self._least))
            await self._timed(self.history.read(self.other, KEY))
            await self._timed(self.history.read(self.other, KEY, least=self._least))
            await asyncio.sleep(0)

    async def _timed(self, call: Awaitable[int]) -> int:
        began_at_s = monotonic_s()
        answer = await call
        self.slowest_s = max(self.slowest_s, monotonic_s() - began_at_s)
        return answer

    def check(self) -> None:
        assert self.history.too_low() == []
        assert self.history.too_old(within_s=EVERY_S + 1.0) == []


async def staged(server: ValkeyServer, outage: Callable[[Stage], Awaitable[None]], *, url: str | None = None) -> Stage:
    """An outage while calls are made, until no call was slow; then all must be well again."""
    slowest = []
    for _ in range(ATTEMPTS):
        stage = Stage(server, url=url)
        async with closing(stage.store, stage.other):
            await usable(stage.store)
            await usable(stage.other)
            await stage.calls()
            await outage(stage)
            stage.check()
            slowest.append(stage.slowest_s)
            if stage.slowest_s < EXTRA_S:
                return stage
    pytest.fail(f"each time some call took longer than {EXTRA_S} s: {slowest}")


async def back(stage: Stage) -> None:
    """Both use the cache again, and say so."""
    await usable(stage.store)
    await stage.store.flush()
    hits = stage.other.figures().hits

    async def is_hit() -> bool:
        await usable(stage.other)
        await stage.history.read(stage.other, KEY)
        return stage.other.figures().hits > hits

    await until(is_hit)


async def test_killed_and_started_again(server: ValkeyServer) -> None:
    async def outage(stage: Stage) -> None:
        server.kill()
        await stage.calls()
        assert stage.store.weakness() is not None
        slowest_s = stage.slowest_s
        server.start()
        await back(stage)
        stage.slowest_s = slowest_s

    await staged(server, outage)


async def test_paused(server: ValkeyServer) -> None:
    """It takes what it is sent and does not answer; what it was sent before is carried out much later."""

    async def outage(stage: Stage) -> None:
        server.signal(signal.SIGSTOP)
        try:
            await stage.calls()
            assert stage.store.weakness() is not None
            slowest_s = stage.slowest_s
        finally:
            server.signal(signal.SIGCONT)
        await back(stage)
        stage.slowest_s = slowest_s

    await staged(server, outage)


async def test_cut_off(server: ValkeyServer) -> None:
    async with Proxy(server.port) as proxy:

        async def outage(stage: Stage) -> None:
            await proxy.cut()
            await stage.calls()
            assert stage.store.weakness() is not None
            slowest_s = stage.slowest_s
            await proxy.mend()
            await back(stage)
            stage.slowest_s = slowest_s

        await staged(server, outage, url=proxy.url)


async def test_flushed(server: ValkeyServer) -> None:
    async def outage(stage: Stage) -> None:
        generation = stage.database.generation
        assert "OK" in server.command("FLUSHALL")
        await stage.calls()
        await usable(stage.store)
        assert stage.database.generation > generation
        slowest_s = stage.slowest_s
        await back(stage)
        stage.slowest_s = slowest_s

    await staged(server, outage)


async def test_restarted_with_an_older_snapshot(server: ValkeyServer) -> None:
    """What the snapshot holds was true once, has years to live, and carries the present generation."""
    stage = Stage(server)
    async with closing(stage.store, stage.other):
        await usable(stage.store)
        await usable(stage.other)
        await stage.history.write(stage.store, KEY)
        await stage.store.flush()
        older = snapshot_of(server)
        await stage.calls()
        await stage.store.flush()
        server.kill()
        (server.folder / "dump.rdb").write_bytes(older)
        server.start()
        assert "life" in server.command("KEYS", "*")  # it did load what it had
        late = mirror_of(stage.database, cache_at(server.url, "stage"))
        async with closing(late):
            await usable(late)
            newest = stage.history.commits[-1].version
            assert await version_of(late, KEY) == newest
            for store in (stage.store, stage.other):
                for _ in range(5):
                    assert await stage.history.read(store, KEY) == newest
                    await asyncio.sleep(EVERY_S / 4)
        await back(stage)
        stage.check()


async def test_away_from_the_beginning(server: ValkeyServer) -> None:
    server.kill()
    stage = Stage(server)
    async with closing(stage.store, stage.other):
        generation = stage.database.generation
        await stage.calls(5)
        assert stage.database.generation >= generation + 5  # each commit raised it itself
        await unused(stage.store)
        server.start()
        await back(stage)


async def test_cache_that_is_full_is_not_used(server: ValkeyServer) -> None:
    store = mirror_of(Database(), cache_at(server.url, "stage"))
    async with closing(store):
        await usable(store)
        assert "OK" in server.command("CONFIG", "SET", "maxmemory", "1")
        await put(store, KEY, 1)
        await unused(store)
        assert "memory" in (store.weakness() or "")
        for number in range(2, 10):
            assert await version_of(store, KEY) == await put(store, KEY, number) - 1
            assert store.weakness() is not None
        assert "OK" in server.command("CONFIG", "SET", "maxmemory", "0")
        await usable(store)


async def test_both_away_says_so(server: ValkeyServer) -> None:
    stage = Stage(server)
    async with closing(stage.store, stage.other):
        await usable(stage.store)
        server.kill()
        stage.database.is_away = True
        with pytest.raises(Unavailable, match="the database is away"):
            await put(stage.store, KEY, 1)
        stage.database.is_away = False
        await put(stage.store, KEY, 1)
        assert await version_of(stage.store, KEY) == 1


async def test_several_loops_use_one_store(server: ValkeyServer) -> None:
    """Each has connections of its own; what one committed the others see at once."""
    store = mirror_of(Database(), cache_at(server.url, "stage"))

    def on_a_loop_of_its_own(number: int) -> int:
        async def once() -> int:
            await usable(store)
            version = await put(store, KEY, number)
            assert await version_of(store, KEY) >= version
            return version

        return asyncio.run(once())

    versions = [await asyncio.to_thread(on_a_loop_of_its_own, number) for number in range(5)]
    assert versions == [1, 2, 3, 4, 5]
    assert sorted(await asyncio.gather(*(asyncio.to_thread(on_a_loop_of_its_own, n) for n in range(4)))) == [6, 7, 8, 9]
    assert await version_of(store, KEY) == 9
    await store.close()
