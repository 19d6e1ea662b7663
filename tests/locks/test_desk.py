"""One desk for each process: few commits for many blocks, no read for one alone, and the store is the truth."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from holdfast import Engine, Fenced, InvalidInput, Status, Unavailable, health_of
from holdfast.locks import lock_key
from holdfast.store.contract.records import Change, Commit, Key, Record, Scope
from holdfast.store.memory import MemoryStore
from holdfast.store.postgres import PostgresStore
from holdfast.testing import VirtualClock
from holdfast.testing.conformance.samples import closing
from holdfast.testing.servers import ValkeyServer

CONTENDERS = 30
LIMIT_S = 30.0


class CountingStore(MemoryStore):
    """Counts what is asked of it. `rows_max`: a change that writes more is refused."""

    def __init__(self, *, rows_max: int = 1000) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self._rows_max = rows_max

    async def read(self, scope: Scope, keys: Sequence[Key]) -> list[Record | None]:
        self.calls["read"] += 1
        return await super().read(scope, keys)

    async def commit(self, scope: Scope, change: Change) -> Commit:
        self.calls["commit"] += 1
        await asyncio.sleep(0)  # as any server, it takes a while
        if len(change.writes) > self._rows_max:
            raise InvalidInput("too many rows")
        return await super().commit(scope, change)


async def hold(engine: Engine, name: str = "r", **options: Any) -> int:
    async with asyncio.timeout(LIMIT_S), engine.lock("repository", name, **options) as lease:
        return lease.token


async def test_who_comes_alone_commits_twice_and_reads_nothing() -> None:
    store = CountingStore()
    async with Engine(store, works=False) as engine:
        await hold(engine)
        store.calls.clear()
        for _ in range(10):
            await hold(engine)
        assert store.calls == {"commit": 20}
    await store.close()


async def test_many_who_come_at_once_share_commits_and_looks() -> None:
    store = CountingStore()
    async with Engine(store, works=False) as engine:
        await hold(engine)
        store.calls.clear()
        tokens = await asyncio.gather(*(hold(engine) for _ in range(CONTENDERS)))
        assert tokens == sorted(set(tokens)), "in the order of asking"
        assert store.calls["commit"] <= CONTENDERS + 2, "one for all who ask, and one for each who gives back"
        assert store.calls["read"] <= 3
    await store.close()


async def test_what_is_too_much_together_is_done_one_by_one() -> None:
    store = CountingStore(rows_max=2)
    async with Engine(store, works=False) as engine:
        await asyncio.gather(*(hold(engine, mode="shared") for _ in range(5)))
    await store.close()


async def test_who_goes_away_while_asking_leaves_nothing_behind() -> None:
    store = CountingStore()
    async with Engine(store, works=False) as engine:
        for turns in range(8):
            asking = asyncio.get_running_loop().create_task(hold(engine))
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait([asking])
        await hold(engine, wait_max_s=0)
    await store.close()


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgresql"])
async def test_two_processes_in_turn_believe_the_store_and_not_their_memory(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = MemoryStore()
    urls = {"memory": store, "sqlite": f"sqlite:///{tmp_path}/runs.db"}
    place: Any = request.getfixturevalue("database") if kind == "postgresql" else urls[kind]
    async with Engine(place, works=False) as one, Engine(place, works=False) as other:
        tokens = [await hold(engine, wait_max_s=0) for engine in (one, other) * 5]
        assert tokens == sorted(set(tokens))
        async with one.lock("repository", "r"):
            with pytest.raises(Unavailable, match="waited 0 s; held by"):
                await hold(other, wait_max_s=0)
    await store.close()


async def test_processes_whose_clocks_are_far_apart_exclude_each_other_and_are_told(database: str) -> None:
    """They live by the clock of the store. One that is an hour ahead takes nothing for lapsed, and one that is an hour
    behind keeps nothing too long."""
    async with closing(PostgresStore(database)) as ahead, closing(PostgresStore(database)) as behind:
        engines = [
            Engine(store, works=False, clock=VirtualClock(store.now_s() + off_s))
            for store, off_s in ((ahead, 3600.0), (behind, -3600.0))
        ]
        async with engines[0] as one, engines[1] as other:
            for holding, asking in ((one, other), (other, one)):
                async with holding.lock("repository", "r", ttl_s=3) as lease:
                    assert 0 < lease.good_until - holding.store.now_s() <= 3
                    with pytest.raises(Unavailable, match="waited 0 s; held by"):
                        await hold(asking, wait_max_s=0)
            told = [check for engine in engines for check in health_of(engine).checks if check.name == "clock"]
            assert [check.status for check in told] == [Status.DEGRADED] * 2
            assert ["ahead of" in told[0].seen, "behind" in told[1].seen] == [True, True]


async def test_tokens_rise_over_a_redis_that_was_set_back() -> None:
    """An older snapshot comes back, and its counter with it: for the process that was there, and for a new one."""
    with ValkeyServer() as server:
        async with Engine(server.url, works=False) as engine:
            tokens = [await hold(engine)]
            server.command("SAVE")
            shutil.copy(server.folder / "dump.rdb", server.folder / "older.rdb")
            tokens += [await hold(engine) for _ in range(3)]
            (before,) = await engine.store.read(Scope.of_tenant("main"), [lock_key("main", "repository", "r")])
            server.kill()
            shutil.copy(server.folder / "older.rdb", server.folder / "dump.rdb")
            server.start()
            (after,) = await engine.store.read(Scope.of_tenant("main"), [lock_key("main", "repository", "r")])
            assert before is not None
            assert after is not None
            assert after.version < before.version, "it was set back"
            tokens.append(await hold(engine))
        async with Engine(server.url, works=False) as newcomer:
            tokens.append(await hold(newcomer))
        server.kill()
        (server.folder / "dump.rdb").unlink()
        server.start()
        async with Engine(server.url, works=False) as last:
            tokens.append(await hold(last))
    assert tokens == sorted(set(tokens))


class OddHints(MemoryStore):
    """Its `wait` answers at once, with nothing new; or, as `trouble` says, it is refused."""

    trouble: Exception | None = None
    hints = 0

    async def wait(self, since: int) -> int:
        self.hints += 1
        await asyncio.sleep(0)
        if self.trouble is not None:
            raise self.trouble
        return since + 1


async def turns(count: int = 200) -> None:
    """So many turns of the loop, in which the clock stands still."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("trouble", [None, Unavailable("away")], ids=["without cause", "refused"])
async def test_hints_keep_nobody_busy_and_a_refused_one_harms_nobody(trouble: Exception | None) -> None:
    """Who waits looks at a pace, whatever the store calls out; and where it gives no hint at all, once a second."""
    clock = VirtualClock()
    store = OddHints(clock=clock)
    store.trouble = trouble
    async with Engine(store, works=False, clock=clock) as one, Engine(store, works=False, clock=clock) as other:
        async with one.lock("repository", "r"):
            waiting = asyncio.get_running_loop().create_task(hold(other))
            await turns()
            assert not waiting.done()
            before = store.hints
            await turns()
            assert store.hints - before <= 2
        for _ in range(200):
            clock.advance_to(clock.time_s() + 0.05)
            await turns(20)
            if waiting.done():
                break
        assert waiting.result() > 0
        assert (one.inside.problems, other.inside.problems) == ({}, {})
    await store.close()


async def test_two_selves_of_one_holder_never_have_one_token() -> None:
    """A process that stood still wakes and asks on, as the one that goes on in its place does: who asked last has the
    lock, and the former one is told to stop, whether it goes or stays; what it gives back is not the other one's."""
    clock = VirtualClock()
    store = MemoryStore(clock=clock)
    async with Engine(store, works=False, clock=clock) as one, Engine(store, works=False, clock=clock) as other:

        async def take(engine: Engine) -> int:
            async with engine.lock("repository", "r", holder="nightly") as lease:
                taken.append(lease.token)
                await gone.wait()
            return lease.token

        tasks = asyncio.get_running_loop()
        taken: list[int] = []
        gone = asyncio.Event()
        async with one.lock("repository", "r"):
            former, cancelled = tasks.create_task(take(one)), tasks.create_task(take(one))
            await turns()
            last = tasks.create_task(take(other))
            await turns()
            cancelled.cancel()
            await turns()
        for _ in range(40):
            clock.advance_to(clock.time_s() + 0.1)
            await turns(20)
        with pytest.raises(Fenced, match="another one since: stop"):
            await former
        await asyncio.wait([cancelled])
        with pytest.raises(Unavailable, match="waited 0 s; held by"):
            await hold(one, wait_max_s=0)
        gone.set()
        assert [await last] == taken
    await store.close()
