"""Nobody who looks sees anything older than the promise, whatever comes in between: proven from recorded histories."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from typing import Any

import pytest
from msgspec.structs import replace

from holdfast.clock import monotonic_s
from holdfast.faults import VARIABLE
from holdfast.store.mirror.cache import Cache, CacheLost
from holdfast.store.mirror.rules import Promise
from holdfast.store.mirror.store import MirrorStore
from holdfast.testing.servers import ValkeyServer
from tests.store.mirror.history import Committed, History, Seen, at_rest, pauses
from tests.store.mirror.truths import (
    SYSTEM,
    Database,
    Proxy,
    cache_at,
    closing,
    mirror_of,
    put,
    run_key,
    usable,
    version_of,
)

KEYS = [run_key("a"), run_key("b")]
ROUNDS = 60


class Slow(Cache):
    """A cache whose puts come late, each by its own while, so that they overtake one another."""

    chance: random.Random

    async def put(self, life: bytes, entries: Any) -> int:
        await asyncio.sleep(self.chance.choice([0, 0, 0.002, 0.006]))
        return await super().put(life, entries)


class PlainPuts(Slow):
    """A planted bug: what comes last stays, newer or not."""

    put_script = Cache.put_script.replace("if not v or", "if true or not v or")


class LateLabels(Cache):
    """A planted bug: entries claim the highest generation there is, whenever they were read."""

    async def put(self, life: bytes, entries: Any) -> int:
        return await super().put(life, [(replace(entry, generation=10**9), left) for entry, left in entries])


class Flaky(Slow):
    """A cache that is lost now and then, sometimes after it did what it was asked."""

    async def look(self, life: bytes, keys: Any) -> list[bytes | None]:
        self._fail(0.1)
        return await super().look(life, keys)

    async def put(self, life: bytes, entries: Any) -> int:
        self._fail(0.15)
        kept = await super().put(life, entries)
        self._fail(0.15)
        return kept

    def _fail(self, rate: float) -> None:
        if self.chance.random() < rate:
            raise CacheLost("on purpose")


async def interleaved(
    url: str, namespace: str, seed: int, *, kind: type[Slow] = Slow, rest_s: float = 0, **promise: float
) -> list[str]:
    """Three writers and three readers in three processes, in a random order: what is wrong when all is at rest."""
    chance = random.Random(seed)
    database = Database()

    async def pause(where: str) -> None:
        await asyncio.sleep(chance.choice([0, 0, 0.001, 0.003]))

    database.pause = pause
    caches = [cache_at(url, namespace, kind=kind) for _ in range(3)]
    for cache in caches:
        cache.chance = chance
    stores = [mirror_of(database, cache, **promise) for cache in caches]
    history = History()
    async with closing(*stores):
        for store in stores:
            await usable(store)

        async def acts(store: MirrorStore, act: Any) -> None:
            for _ in range(4):
                await pauses(chance.randrange(8))
                await act(store, chance.choice(KEYS))

        await asyncio.gather(*(acts(store, act) for store in stores for act in (history.write, history.read)))
        for key in KEYS:
            await history.write(stores[0], key)
        for store in stores:
            await store.flush()
            await usable(store)
        await asyncio.sleep(rest_s)
        return await at_rest(history, stores, KEYS)


async def test_no_interleaving_leaves_an_old_value(valkey_server: ValkeyServer, namespace: str) -> None:
    for seed in range(ROUNDS):
        assert await interleaved(valkey_server.url, f"{namespace}-{seed}", seed) == [], f"seed {seed}"


async def test_puts_that_fail_at_random_are_noticed(valkey_server: ValkeyServer, namespace: str) -> None:
    """Whoever lost a put has raised the generation, and the others have looked since."""
    every_s = 0.02
    promise = {"generation_every_s": every_s, "probe_first_s": 0.001}
    for seed in range(ROUNDS):
        wrong = await interleaved(
            valkey_server.url, f"{namespace}-{seed}", seed, kind=Flaky, rest_s=2 * every_s, **promise
        )
        assert wrong == [], f"seed {seed}"


async def test_plain_puts_would_leave_old_values(valkey_server: ValkeyServer, namespace: str) -> None:
    """The check is checked: where the last put stays, some interleaving leaves what is old."""
    for seed in range(10 * ROUNDS):
        if await interleaved(valkey_server.url, f"{namespace}-{seed}", seed, kind=PlainPuts):
            return
    pytest.fail("no interleaving was found that a plain put spoils")


def test_the_history_tells_what_is_too_old() -> None:
    history = History()
    key = run_key()
    history.commits = [Committed(key, 1, 10.0), Committed(key, 2, 11.0), Committed(run_key("b"), 9, 0.0)]
    history.reads = [Seen(key, 1, 11.9), Seen(key, 1, 12.1), Seen(key, 2, 99.0, least=3)]
    assert [text.partition(": ")[2] for text in history.too_old(within_s=1)] == [
        f"{history.commits[1]} was there 1.100 s before"
    ]
    assert history.stale() == 2
    assert history.too_low() == [history.reads[2]]


class TestCutOff:
    async def test_process_that_cannot_reach_the_cache_is_noticed_by_the_others(
        self, valkey_server: ValkeyServer, namespace: str
    ) -> None:
        """Its commits raise the generation themselves; readers go by the generation, which they re-read in time."""
        database = Database()
        every_s = 0.2
        reader = mirror_of(database, cache_at(valkey_server.url, namespace), generation_every_s=every_s)
        async with Proxy(valkey_server.port) as proxy:
            writer = mirror_of(database, cache_at(proxy.url, namespace, budget_s=0.2), generation_every_s=every_s)
            history = History()
            async with closing(reader, writer):
                await usable(reader)
                await usable(writer)
                await history.write(writer, KEYS[0])
                await writer.flush()
                assert await history.read(reader, KEYS[0]) == 1
                await proxy.cut()
                for _ in range(10):
                    await history.write(writer, KEYS[0])
                    until_s = monotonic_s() + 1.5 * every_s
                    while monotonic_s() < until_s:
                        await history.read(reader, KEYS[0])
                        await history.read(writer, KEYS[0], least=history.commits[-1].version)
                        await asyncio.sleep(0.005)
                assert history.stale() > 0
                # The first put fails within its budget; then it takes the time between two looks at the generation.
                assert history.too_old(within_s=0.2 + every_s + 1.0) == []
                assert history.too_low() == []
                assert writer.weakness() is not None
                await proxy.mend()
                await usable(writer)
                await history.write(writer, KEYS[0])
                assert await at_rest(history, [reader, writer], KEYS[:1]) == []
                assert reader.figures().hits > 0

    async def test_label_that_was_read_too_late_would_be_found(
        self, valkey_server: ValkeyServer, namespace: str
    ) -> None:
        """The check is checked: with entries that claim too high a generation, a cut-off writer stays unnoticed."""
        database = Database()
        reader = mirror_of(
            database, cache_at(valkey_server.url, namespace, kind=LateLabels), generation_every_s=0.05, lives_s=60
        )
        async with Proxy(valkey_server.port) as proxy:
            writer = mirror_of(database, cache_at(proxy.url, namespace, budget_s=0.2), generation_every_s=0.05)
            history = History()
            async with closing(reader, writer):
                await usable(reader)
                await usable(writer)
                await history.write(reader, KEYS[0])
                await reader.flush()
                await proxy.cut()
                await history.write(writer, KEYS[0])
                until_s = monotonic_s() + 2.0
                while monotonic_s() < until_s:
                    await history.read(reader, KEYS[0])
                    await asyncio.sleep(0.01)
                assert history.too_old(within_s=1.25) != []


class TestCrash:
    """On a real PostgreSQL, with processes that are really killed."""

    @pytest.mark.parametrize("point", ["mirror-before-put", "store-after-commit"])
    async def test_commit_that_was_never_put_is_seen_in_time(
        self, database: str, valkey_server: ValkeyServer, point: str
    ) -> None:
        lives_s = 3.0
        url = f"hybrid+{database}?cache={valkey_server.url}"
        store = MirrorStore(url, promise=Promise(lives_s=lives_s, generation_every_s=0.1, budget_s=2.0))
        history = History()
        async with closing(store):
            await history.write(store, KEYS[0])
            await usable(store)
            await version_of(store, KEYS[0])
            await store.flush()
            died = await asyncio.to_thread(write_and_die, url, point)
            assert died.returncode == -signal.SIGKILL, died.stderr
            (record,) = await store.read(SYSTEM, KEYS[:1])
            assert record is not None
            assert record.version == 2  # it was committed
            seen_at_s = monotonic_s()
            history.commits.append(Committed(KEYS[0], 2, seen_at_s))
            while monotonic_s() < seen_at_s + lives_s + 1.0:
                await history.read(store, KEYS[0])
                await asyncio.sleep(0.02)
            assert history.too_old(within_s=lives_s) == []
            assert history.reads[-1].version == 2
            assert await history.read(store, KEYS[0], least=2) == 2

    async def test_reader_knows_at_once_what_it_must_not_go_below(
        self, database: str, valkey_server: ValkeyServer
    ) -> None:
        url = f"hybrid+{database}?cache={valkey_server.url}"
        store = MirrorStore(url, promise=Promise(budget_s=2.0))
        async with closing(store):
            await put(store, KEYS[0], 0)
            await usable(store)
            await version_of(store, KEYS[0])
            await store.flush()
            died = await asyncio.to_thread(write_and_die, url, "mirror-before-put")
            assert died.returncode == -signal.SIGKILL, died.stderr
            assert await version_of(store, KEYS[0]) == 1  # the crash did leave something old
            assert await version_of(store, KEYS[0], least=2) == 2


def write_and_die(url: str, point: str) -> subprocess.CompletedProcess[str]:
    """A process that writes the second version of the first key, and is killed at a fault point."""
    return subprocess.run(
        [sys.executable, "-m", "tests.store.mirror.child", url],
        env={**os.environ, VARIABLE: f"{point}:1:kill"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
