"""A Redis that is killed and comes back: work goes on, what was written goes in, what others wrote is not lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from holdfast import Engine, FieldPolicy, InvalidInput, Rejected, Workflow
from holdfast.errors import Conflict, Fenced, Unavailable
from holdfast.observe.health import health_of
from holdfast.observe.rules import Status
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Claim, Position, Query, Require
from holdfast.store.fallback import store as fallback_store
from holdfast.store.fallback.rules import UNMERGED
from holdfast.store.fallback.store import OUTAGE, FallbackStore
from holdfast.store.fallback.unmerged import drop, unmerged
from holdfast.store.open import open_sealed, open_store
from holdfast.store.redis import RedisStore
from holdfast.testing.conformance.samples import (
    ANA,
    SYSTEM,
    change,
    delete,
    event,
    key,
    must_read,
    put,
    read_one,
    removal,
)
from holdfast.testing.servers import ValkeyServer, free_port
from tests.store.fallback.servers import FILE, come_back, fallback_url, merged, until


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer(options=FILE) as server:
        yield server


@pytest.fixture
async def store(server: ValkeyServer) -> AsyncIterator[FallbackStore]:
    store = FallbackStore(fallback_url(server))
    yield store
    await store.close()


@asynccontextmanager
async def other(server: ValkeyServer) -> AsyncIterator[RedisStore]:
    """Another client, without a fallback."""
    store = RedisStore(f"{server.url}?namespace=test")
    try:
        yield store
    finally:
        await store.close()


async def as_others(server: ValkeyServer, *changes: Any) -> None:
    """What others commit while the store under test has given the server up."""
    async with other(server) as rival:
        for sent in changes:
            await rival.commit(ANA, sent)


def others_first(store: FallbackStore) -> None:
    """Let the store find its server away until `come_to`, whatever there is."""
    store.server_breakers()[0].breaker.force("forced_open", reason="others come first")


async def come_to(store: FallbackStore) -> None:
    store.server_breakers()[0].breaker.release()
    await merged(store)


class TestGoingOn:
    async def test_work_goes_on_and_goes_in(
        self, server: ValkeyServer, store: FallbackStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        await store.commit(ANA, change(put("a", body=b"1"), event("a")))
        since = await store.wait(0)
        server.kill()
        waiter = asyncio.ensure_future(store.wait(since))
        for number in range(1, 4):
            answer = await store.commit(ANA, change(put("a", expect=number, body=b"2"), event("a")))
            assert answer.versions == (number + 1,), "goes on from what was written before"
        async with asyncio.timeout(10):
            assert await waiter > since
        await store.commit(ANA, change(put("b", body=b"3"), put(key("m/1", kind="memo")), event("b")))
        await store.commit(ANA, change(removal("m/")))
        assert store.capabilities.is_partial
        assert not store.capabilities.durable
        assert "nothing while Redis is away" in store.capabilities.durability
        assert store.ailment() is None
        words = str(store.weakness())
        assert "process goes on alone" in words
        assert "5 changes wait" in words
        assert caplog.text.count("redis_away_going_on_in_memory") == 1

        await come_back(server, store)
        assert store.weakness() is None
        assert not store.capabilities.is_partial
        async with other(server) as rival:
            assert (await must_read(rival, "a")).version == 4
            assert (await must_read(rival, "b")).body == b"3"
            assert await read_one(rival, key("m/1", kind="memo")) is None
            assert len(await rival.events(ANA, record=key("a"))) == 4
            assert (await must_read(rival, OUTAGE)).version == 1
            assert (await rival.verify()).is_clean
        await store.commit(ANA, change(put("a", expect=4), event("a")))
        assert store.ailment() is None
        figures = store.figures()
        assert (figures.outages, figures.landed, figures.waiting, figures.kept) == (1, 5, 0, 0)
        assert "1 outages so far" in store.capabilities.durability

    async def test_a_redis_that_was_never_there(self, server: ValkeyServer) -> None:
        server.kill()
        store = FallbackStore(fallback_url(server))
        await store.commit(ANA, change(put("a", body=b"1"), event("a")))
        assert await read_one(store, "b") is None
        assert store.figures().unsure == 1, "nobody knows whether it is there"
        await come_back(server, store)
        assert (await must_read(store, "a")).body == b"1"
        await store.close()

    async def test_what_this_process_read_is_known_and_the_rest_is_unsure(
        self, server: ValkeyServer, store: FallbackStore
    ) -> None:
        await as_others(server, change(put("read")), change(put("scanned"), put(key("x", kind="other"))))
        await must_read(store, "read")
        await store.scan(ANA, Query(kind="run", prefix="scan"))
        server.kill()
        assert [record.key.id for record in (await store.scan(ANA, Query(kind="run"))).records] == ["read", "scanned"]
        assert await read_one(store, key("x", kind="other")) is None
        assert store.figures().unsure == 1
        assert store.capabilities.is_partial
        await come_back(server, store)
        assert await read_one(store, key("x", kind="other")) is not None

    async def test_several_outages_one_after_the_other(self, server: ValkeyServer, store: FallbackStore) -> None:
        for number in range(3):
            server.kill()
            await store.commit(ANA, change(put("a", expect=number), event("a")))
            await come_back(server, store)
        assert (await must_read(store, "a")).version == 3
        assert store.figures().outages == 3
        assert (await store.verify()).is_clean

    async def test_a_server_that_stands_still_is_away(self, server: ValkeyServer, store: FallbackStore) -> None:
        import signal

        await store.commit(ANA, change(put("a")))
        store.server_breakers()[0].breaker.open("it is known to stand still")
        server.signal(signal.SIGSTOP)
        await store.commit(ANA, change(put("a", expect=1)))
        server.signal(signal.SIGCONT)
        await merged(store)
        assert (await must_read(store, "a")).version == 2

    async def test_what_is_left_when_it_closes_is_merged_or_said_to_be_lost(
        self, server: ValkeyServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        for is_back in (True, False):
            store = FallbackStore(fallback_url(server))
            await store.commit(ANA, change(put(f"before-{is_back}")))
            server.kill()
            await store.commit(ANA, change(put(f"a-{is_back}")))
            if is_back:
                await asyncio.to_thread(server.start)
            caplog.clear()
            await store.close()
            assert ("ends_with_the_process" in caplog.text) is not is_back
            with pytest.raises(Unavailable, match="closed"):
                await must_read(store, "a")
            if not is_back:
                await asyncio.to_thread(server.start)
            async with other(server) as rival:
                assert (await read_one(rival, f"a-{is_back}") is not None) is is_back

    async def test_quick_writers_do_not_keep_an_outage_on(self, server: ValkeyServer, store: FallbackStore) -> None:
        """Memory takes a change in less time than Redis: while the rest is merged, they wait."""
        await store.commit(ANA, change(put("a")))
        server.kill()
        counts = dict.fromkeys("abcd", 0)
        is_enough = False

        async def write(name: str) -> None:
            while not is_enough:
                await store.commit(ANA, change(put(f"{name}-{counts[name]}")))
                counts[name] += 1
                await asyncio.sleep(0.002)

        async with asyncio.TaskGroup() as group:
            for name in counts:
                group.create_task(write(name))
            await until(lambda: store.figures().waiting > 200)
            await asyncio.to_thread(server.start)
            await until(lambda: not store.figures().is_away)
            is_enough = True
        async with other(server) as rival:
            for name, count in counts.items():
                found = await rival.read(ANA, [key(f"{name}-{number}") for number in range(count)])
                assert None not in found

    async def test_memory_is_bounded(
        self, server: ValkeyServer, store: FallbackStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from holdfast.store.fallback import outage

        monkeypatch.setattr(outage, "CHANGES_MAX", 2)
        server.kill()
        await store.commit(ANA, change(put("a")))
        await store.commit(ANA, change(put("b")))
        with pytest.raises(Unavailable, match="memory takes no more"):
            await store.commit(ANA, change(put("c")))
        assert "takes no more" in str(store.ailment())
        await come_back(server, store)
        await store.commit(ANA, change(put("c")))


class TestConflicts:
    async def test_a_conflicting_write_is_kept_aside_and_told(
        self, server: ValkeyServer, store: FallbackStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        await store.commit(ANA, change(put("a", body=b'"base"'), put("b"), event("a")))
        server.kill()
        await store.commit(ANA, change(put("a", expect=1, body=b'"ours"'), put("b", expect=1), event("a", name="ours")))
        others_first(store)
        await asyncio.to_thread(server.start)
        await as_others(server, change(put("a", expect=1, body=b'"theirs"'), event("a", name="theirs")))
        await come_to(store)

        held = await must_read(store, "a")
        assert held.body == b'"theirs"'
        both = await must_read(store, "b")
        assert (both.body, both.version) == (b"{}", 3), "what was written together is kept together"
        kept = await unmerged(store, ANA)
        assert [(each.key.id, each.value, each.expected, each.seen) for each in kept] == [
            ("a", "ours", 1, 2),
            ("b", {}, 1, 1),
        ]
        assert "others changed run a" in kept[0].why
        names = [row.name for row in await store.events(ANA, record=key("a"))]
        assert names == ["transition", "theirs", "passed_by"]
        story = [row.name for row in await store.events(ANA, record=key(kept[0].id, kind=UNMERGED))]
        assert story == ["kept", "ours"]
        assert "outage_change_kept" in caplog.text
        assert "1 changes" in str(store.weakness())
        assert "holdfast unmerged" in store.remedy()
        assert (await store.verify()).is_clean

        with pytest.raises(Conflict):  # version 2 was ours in the outage, and theirs on the server
            await store.commit(ANA, change(put("a", expect=2, body=b'"ours again"')))

    async def test_health_is_whole_again_once_it_was_decided(
        self, server: ValkeyServer, store: FallbackStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fallback_store, "RECOUNT_EVERY_S", 0.01)
        await self._kept_aside(server, store)
        assert store.weakness() is not None
        for each in await unmerged(store, SYSTEM):
            assert await drop(store, ANA, key(each.id, kind=UNMERGED), by="ana")
            assert not await drop(store, ANA, key(each.id, kind=UNMERGED), by="ana")
        await until(lambda: store.weakness() is None)

    async def test_nobody_elses_is_shown(self, server: ValkeyServer, store: FallbackStore) -> None:
        from holdfast.testing.conformance.samples import BOB, STRANGER

        await self._kept_aside(server, store)
        assert await unmerged(store, BOB) == [] == await unmerged(store, STRANGER)

    async def test_a_policy_of_the_kind_decides(self, server: ValkeyServer, store: FallbackStore) -> None:
        store.merge_by("run", lambda key: {"/body/tags": FieldPolicy.UNION})
        base, ours, theirs = (
            b'{"tags":["a"],"n":1}',
            b'{"tags":["a","b"],"n":1}',
            b'{"tags":["a","c"],"n":2}',
        )
        await store.commit(ANA, change(put("a", body=base), event("a", delta=b'{"full":%b}' % base)))
        server.kill()
        await store.commit(ANA, change(put("a", expect=1, body=ours), event("a", name="ours")))
        others_first(store)
        await asyncio.to_thread(server.start)
        await as_others(server, change(put("a", expect=1, body=theirs), event("a", delta=b'{"full":%b}' % theirs)))
        await come_to(store)
        held = await must_read(store, "a")
        assert (held.version, held.body) == (3, b'{"tags":["a","b","c"],"n":2}')
        assert [row.name for row in await store.events(ANA, record=key("a"))][-2:] == ["ours", "merged"]
        assert store.figures().merged == 1
        assert store.weakness() is None
        assert (await store.verify()).is_clean

    async def test_what_was_decided_on_something_others_changed_is_kept_aside(
        self, server: ValkeyServer, store: FallbackStore
    ) -> None:
        await store.commit(ANA, change(put("ground")))
        server.kill()
        await store.commit(ANA, change(put("a"), Require(key=key("ground"), version=1)))
        await store.commit(ANA, change(put("a", expect=1), event("a")))
        await store.commit(ANA, change(put("c")))
        others_first(store)
        await asyncio.to_thread(server.start)
        await as_others(server, change(put("ground", expect=1)))
        await come_to(store)
        assert await read_one(store, "a") is None, "nor what was built on it"
        assert (await must_read(store, "c")).version == 1
        assert store.figures().kept == 2

    async def test_an_owner_who_lost_his_record_is_fenced(self, server: ValkeyServer, store: FallbackStore) -> None:
        claim = Claim(kind="run", owner="me", from_owners=("",), ids=("a", "b"))
        await store.commit(ANA, change(put("a"), put("b")))
        server.kill()
        assert [record.epoch for record in await store.claim(SYSTEM, claim)] == [1, 1]
        await store.commit(ANA, change(put("a", expect=1, epoch=1, body=b'"mine"')))
        await store.commit(ANA, change(put("b", expect=1, epoch=1, body=b'"mine"')))
        others_first(store)
        await asyncio.to_thread(server.start)
        async with other(server) as rival:
            theirs = Claim(kind="run", owner="they", from_owners=("",), ids=("a",))
            await rival.claim(SYSTEM, theirs)
            await rival.commit(ANA, change(put("a", expect=1, epoch=1, body=b'"theirs"')))
        await come_to(store)
        for_both, alone = await must_read(store, "a"), await must_read(store, "b")
        assert (for_both.body, for_both.owner) == (b'"theirs"', "they")
        assert (alone.body, alone.owner, alone.epoch) == (b'"mine"', "me", 1)
        with pytest.raises(Fenced):
            await store.commit(ANA, change(put("a", expect=None, epoch=1)))
        await store.commit(ANA, change(put("b", expect=2, epoch=1)))
        assert store.figures().yielded == 1

    async def test_what_the_server_lost_is_put_back(self) -> None:
        with ValkeyServer() as forgetful:
            store = FallbackStore(fallback_url(forgetful))
            await store.commit(ANA, change(put("a", body=b"1"), event("a", delta=b'{"full":1}')))
            forgetful.kill()
            await store.commit(ANA, change(put("a", expect=1, body=b"2"), event("a", delta=b'{"patch":[]}')))
            await store.commit(ANA, change(put("a", expect=2, body=b"3"), event("a", delta=b'{"full":3}')))
            await come_back(forgetful, store)
            assert (await must_read(store, "a")).body == b"3"
            assert store.figures().restored == 1
            assert (await store.verify()).is_clean
            assert "restored" in [row.name for row in await store.events(ANA, record=key("a"))]
            await store.close()

    async def test_a_commit_whose_answer_was_lost_goes_in_once(
        self, server: ValkeyServer, store: FallbackStore
    ) -> None:
        """Redis had carried it out as it went away, and its sender did it again in memory."""
        await store.commit(ANA, change(put("a")))
        sent = change(put("a", expect=1, body=b"2"), event("a"))
        await as_others(server, sent)
        server.kill()
        await store.commit(ANA, sent)
        await store.commit(ANA, change(put("a", expect=2, body=b"3"), event("a")))
        await come_back(server, store)
        held = await must_read(store, "a")
        assert (held.version, held.body) == (3, b"3")
        assert len(await store.events(ANA, record=key("a"))) == 2
        assert store.figures().kept == 0

    async def test_both_deleted_it(self, server: ValkeyServer, store: FallbackStore) -> None:
        await store.commit(ANA, change(put("a"), event("a")))
        server.kill()
        await store.commit(ANA, change(delete("a", expect=1), event("a", name="gone")))
        others_first(store)
        await asyncio.to_thread(server.start)
        await as_others(server, change(delete("a", expect=1), event("a", name="gone")))
        await come_to(store)
        assert store.figures().kept == 0
        assert await read_one(store, "a") is None

    async def _kept_aside(self, server: ValkeyServer, store: FallbackStore) -> None:
        await store.commit(ANA, change(put("a")))
        server.kill()
        await store.commit(ANA, change(put("a", expect=1, body=b"1")))
        others_first(store)
        await asyncio.to_thread(server.start)
        await as_others(server, change(put("a", expect=1, body=b"2")))
        await come_to(store)


class TestReaders:
    async def test_a_stream_is_read_on_across_an_outage_with_a_gap(
        self, server: ValkeyServer, store: FallbackStore
    ) -> None:
        await store.commit(ANA, change(put("a"), event("a", name="before")))
        (first,) = await store.events(ANA, stream=("acme", "ana"))
        server.kill()
        await store.commit(ANA, change(put("b"), event("b", name="during")))
        (second,) = await store.events(ANA, stream=("acme", "ana"), after=first.position)
        assert second.name == "during"
        assert second.position.incarnation > first.position.incarnation, "a history of its own: readers see a gap"
        await come_back(server, store)
        await store.commit(ANA, change(put("c"), event("c", name="after")))
        names = [row.name for row in await store.events(ANA, stream=("acme", "ana"), after=second.position)]
        assert names == ["during", "after"], "nothing is missed; what the outage told may come again"
        unknown = Position(second.position.incarnation, 1)
        assert await store.events(ANA, stream=("acme", "bob"), after=unknown) == []


class TestUrls:
    @pytest.mark.parametrize(
        "url",
        [
            "redis://host/0?fallback=disk",
            "redis://host/0?fallback=",
            "redis+cluster://host?fallback=memory",
            "postgresql://host/db?fallback=memory",
            "sqlite:///a.db?fallback=memory",
            "memory:?fallback=memory",
            "hybrid+postgresql://host/db?cache=redis://host&fallback=memory",
            "hybrid+postgresql://host/db?cache=redis://host?fallback=memory",
        ],
    )
    def test_nothing_else_falls_back(self, url: str) -> None:
        with pytest.raises(InvalidInput, match="expected fallback=memory, on redis://, rediss://, valkey:// alone"):
            open_store(url)

    @pytest.mark.parametrize("scheme", ["redis", "rediss", "valkey"])
    async def test_a_single_redis_does(self, scheme: str) -> None:
        store = open_store(f"{scheme}://ana:hunter2@127.0.0.1:{free_port()}/0?namespace=n&fallback=memory")
        assert isinstance(store, FallbackStore)
        await store.commit(ANA, change(put("a")))
        assert "hunter2" not in repr(store) + str(store.weakness()) + store.capabilities.location
        await store.close()

    def test_what_is_sealed_cannot_be_merged(self) -> None:
        class Plain:
            def encode(self, data: bytes, about: object) -> bytes:
                return data

            def decode(self, data: bytes, about: object) -> bytes:
                return data

        with pytest.raises(InvalidInput, match="fallback=memory out"):
            open_sealed("redis://host/0?fallback=memory", Plain())


class TestEngines:
    async def test_durable_runs_are_refused(self, server: ValkeyServer) -> None:
        with pytest.raises(Rejected, match="durable=False"):
            async with Engine(fallback_url(server), _workflow()):
                pass

    async def test_runs_go_on_where_it_was_said_aloud(self, server: ValkeyServer) -> None:
        async with Engine(fallback_url(server), _workflow(), durable=False) as engine:
            run = await engine.start("incident", id="INC-1", user="ana")
            await run.reach("review")
            assert health_of(engine).status is Status.GREEN
            server.kill()
            store: Store = engine.store
            assert isinstance(store, FallbackStore)
            await until(lambda: store.figures().is_away)
            other = await engine.start("incident", id="INC-2", user="ana")
            await other.reach("review")
            await run.send("approve", by="ana")
            await run.reach("finished")
            health = health_of(engine)
            assert health.status is Status.DEGRADED
            (check,) = [each for each in health.checks if each.name == "store"]
            assert "goes on alone, in memory" in check.seen
            assert "bring Redis back" in check.advice
            await come_back(server, store)
            await until(lambda: health_of(engine).status is Status.GREEN)
            await other.send("approve", by="ana")
            await other.reach("finished")
        async with Engine(f"{server.url}?namespace=test", _workflow(), durable=False) as engine:
            for name in ("INC-1", "INC-2"):
                found = await engine.client("ana").find(name)
                assert found.run.is_ended
        assert store.figures().kept == 0


def _workflow() -> Workflow:
    wf = Workflow("incident", data=dict)
    wf.wait("review", on={"approve": "finished"}, start=True)
    wf.final("finished")
    return wf
