"""A user's stream: every event once, in order, from any cursor, on every store; a gap is answered with a snapshot."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast import InvalidInput, StreamSnapshot, Unavailable, UserStreams, WrongContext
from holdfast.store.contract.beyond import stream_ends
from holdfast.store.contract.protocol import OpenStore
from holdfast.store.contract.records import Change, Event, Key, NewEvent, Position, Put, Scope
from holdfast.store.memory import MemoryStore
from holdfast.store.open import open_store
from holdfast.testing.faulty_store import Fault, FaultyStore, When
from holdfast.users.rules import (
    PAGE_BYTES,
    PAGE_FIRST,
    PAGE_LEAST,
    PAGE_MAX,
    follows,
    is_news,
    is_resumable,
    next_page,
)
from holdfast.users.stream import EVENT_BYTES_MAX, StreamEvent, StreamReader
from tests.users.conftest import context, until

SYSTEM = Scope.system()
ANA, BEN = context("ana"), context("ben")
SUBSCRIBERS = 1000


@pytest.fixture
async def streams(store: OpenStore) -> AsyncIterator[UserStreams]:
    async with UserStreams(store) as opened:
        yield opened


async def take(reader: StreamReader, count: int) -> list[StreamEvent]:
    """The next `count` items, all of which must be events."""
    found = []
    async with asyncio.timeout(30):
        while len(found) < count:
            item = await anext(reader)
            assert isinstance(item, StreamEvent), item
            found.append(item)
    return found


async def run_record(store: OpenStore, number: int, *, user: str = "ana", event: str = "started") -> None:
    """A run's record with one row of its journal."""
    key = Key("acme", user, "run", f"r{number}")
    put = Put(key=key, body=b'{"n":1}', expect=None, status="running")
    change = Change(
        change_id=f"{user}-{number}-{event}", writes=(put,), events=(NewEvent(key=key, name=event, body=b"{}"),)
    )
    await store.commit(Scope.of_user("acme", user), change)


class TestReading:
    async def test_events_come_in_the_order_of_their_commits_from_the_beginning(self, streams: UserStreams) -> None:
        positions = [await streams.publish(ANA, "tick", {"n": n}) for n in range(2 * PAGE_FIRST + 3)]
        events = await take(streams.stream(ANA, after="0:0"), len(positions))
        assert [event.position for event in events] == positions
        assert [event.data["n"] for event in events] == list(range(2 * PAGE_FIRST + 3))

    async def test_a_reader_who_comes_back_goes_on_behind_his_cursor(self, streams: UserStreams) -> None:
        for n in range(10):
            await streams.publish(ANA, "tick", {"n": n})
        first = streams.stream(ANA, after="0:0")
        await take(first, 4)
        again = streams.stream(ANA, after=str(first.position))
        assert [event.data["n"] for event in await take(again, 6)] == [4, 5, 6, 7, 8, 9]

    async def test_a_reader_who_waits_is_woken_by_what_is_published_here(self, streams: UserStreams) -> None:
        reader = streams.stream(ANA, after="0:0")
        waiting = asyncio.ensure_future(anext(reader))
        await until(lambda: reader._ear.is_waiting, "the reader waits")
        await streams.publish(ANA, "tick", {"n": 1})
        async with asyncio.timeout(10):
            assert (await waiting).data == {"n": 1}

    async def test_a_reader_who_waits_is_woken_by_what_another_process_commits(
        self, url: str, streams: UserStreams, store: OpenStore
    ) -> None:
        reader = streams.stream(ANA, after="0:0")
        waiting = asyncio.ensure_future(anext(reader))
        await until(lambda: reader._ear.is_waiting, "the reader waits")
        other = store if url == "memory:" else open_store(url)
        await run_record(other, 1)  # not by these streams, so nothing rings but the store
        async with asyncio.timeout(30):
            event = await waiting
        assert (event.kind, event.id, event.run, event.name) == ("run", "r1", "r1", "started")
        if other is not store:
            await other.close()

    async def test_publishers_of_one_user_side_by_side_leave_no_hole(self, url: str, store: OpenStore) -> None:
        other = store if url == "memory:" else open_store(url)
        async with UserStreams(store) as here, UserStreams(other) as there:
            await asyncio.gather(*((here, there)[n % 2].publish(ANA, "tick", {"n": n}) for n in range(60)))
            events = await take(here.stream(ANA, after="0:0"), 60)
        assert sorted(event.data["n"] for event in events) == list(range(60))
        assert [event.position.seq for event in events] == list(range(1, 61))
        if other is not store:
            await other.close()

    async def test_users_of_one_name_in_two_tenants_and_two_users_of_one_tenant_see_their_own(
        self, streams: UserStreams
    ) -> None:
        others = [context("ana", tenant="other"), BEN]
        for whose in (ANA, *others):
            await streams.publish(whose, "tick", {"of": [whose.tenant, whose.user]})
        for whose in (ANA, *others):
            (event,) = await take(streams.stream(whose, after="0:0"), 1)
            assert event.data == {"of": [whose.tenant, whose.user]}

    async def test_the_ids_of_the_context_are_told(self, streams: UserStreams) -> None:
        await streams.publish(context("ana", run="r-1", thread="t-1", request="q-1"), "tick")
        (event,) = await take(streams.stream(ANA, after="0:0"), 1)
        assert (event.run, event.thread, event.request, event.data) == ("r-1", "t-1", "q-1", None)


class TestGaps:
    async def test_a_reader_without_a_cursor_begins_with_what_stands(
        self, streams: UserStreams, store: OpenStore
    ) -> None:
        for n in range(3):
            await run_record(store, n)
        await run_record(store, 9, user="ben")
        reader = streams.stream(ANA)
        snapshot = await anext(reader)
        assert isinstance(snapshot, StreamSnapshot)
        assert (snapshot.reason, snapshot.is_last) == ("new", True)
        assert [(each.id, each.status, each.body) for each in snapshot.objects] == [
            (f"r{n}", "running", b'{"n":1}') for n in range(3)
        ]
        await streams.publish(ANA, "tick", {"n": 1})
        (event,) = await take(reader, 1)
        assert event.position.seq == snapshot.position.seq + 1

    async def test_what_retention_took_is_answered_with_a_snapshot_and_the_reader_goes_on(
        self, streams: UserStreams, store: OpenStore
    ) -> None:
        for n in range(4):
            await streams.publish(ANA, "tick", {"n": n})
        reader = streams.stream(ANA, after="0:0")
        await take(reader, 1)
        cursor = reader.position
        await run_record(store, 1)
        await store.trim(before_s=store.now_s() + 1)
        back = streams.stream(ANA, after=cursor)
        snapshot = await anext(back)
        assert isinstance(snapshot, StreamSnapshot)
        assert (snapshot.reason, [each.id for each in snapshot.objects]) == ("gap", ["r1"])
        position = await streams.publish(ANA, "after", {})
        (event,) = await take(back, 1)
        assert (event.position, event.name) == (position, "after")

    async def test_a_slow_reader_whom_retention_overtakes_gets_a_snapshot_in_the_middle(
        self, streams: UserStreams, store: OpenStore
    ) -> None:
        for n in range(3 * PAGE_FIRST):
            await streams.publish(ANA, "tick", {"n": n})
        reader = streams.stream(ANA, after="0:0")
        await take(reader, PAGE_FIRST)
        await store.trim(before_s=store.now_s() + 1)
        item = await anext(reader)
        assert isinstance(item, StreamSnapshot)
        assert item.reason == "gap"

    async def test_a_cursor_of_another_incarnation_is_answered_with_a_snapshot(self, streams: UserStreams) -> None:
        position = await streams.publish(ANA, "tick")
        for foreign in (
            Position(position.incarnation + 1, position.seq),
            Position(position.incarnation, position.seq + 5),
            Position(max(0, position.incarnation - 1), 7),
        ):
            item = await anext(streams.stream(ANA, after=foreign))
            assert isinstance(item, StreamSnapshot), foreign
            assert item.reason == "gap"

    async def test_a_snapshot_comes_in_parts_and_ends(self, memory: OpenStore) -> None:
        for n in range(120):
            await run_record(memory, n)
        async with UserStreams(memory) as streams:
            reader, parts = streams.stream(ANA), []
            while not parts or not parts[-1].is_last:
                part = await anext(reader)
                assert isinstance(part, StreamSnapshot)
                parts.append(part)
                assert (reader.position is None) != part.is_last
        ids = {each.id for part in parts for each in part.objects}
        assert (len(parts), len(ids)) == (3, 120)

    async def test_a_reader_who_gives_up_in_the_middle_of_a_snapshot_and_asks_again_misses_nothing(self) -> None:
        class SlowScans(MemoryStore):
            scans = 0

            async def scan(self, *args: Any, **more: Any) -> Any:
                self.scans += 1
                if self.scans == 2:  # of the second kind: those of the first are found already
                    await asyncio.Event().wait()
                return await super().scan(*args, **more)

        store = SlowScans()
        for n in range(3):
            await run_record(store, n)
        async with UserStreams(store) as streams:
            reader = streams.stream(ANA)
            first = asyncio.ensure_future(anext(reader))
            await until(lambda: store.scans == 2, "it waits for the second kind")
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            snapshot = await anext(reader)
            assert isinstance(snapshot, StreamSnapshot)
            assert ([each.id for each in snapshot.objects], snapshot.is_last) == (["r0", "r1", "r2"], True)
        await store.close()

    async def test_a_reader_whose_patience_ends_while_it_waits_goes_on_afterwards(self, memory: OpenStore) -> None:
        async with UserStreams(memory) as streams:
            reader = streams.stream(ANA, after="0:0")
            for n in range(3):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await anext(reader)
                await streams.publish(ANA, "tick", n)
                (event,) = await take(reader, 1)
                assert event.data == n

    def test_the_rule_of_gaps(self) -> None:
        assert follows(Position(1, 4), Position(1, 5))
        assert not follows(Position(1, 4), Position(1, 6))
        assert not follows(Position(1, 4), Position(2, 5))
        assert is_resumable(Position(1, 4), Position(1, 4))
        assert not is_resumable(Position(1, 4), None)
        assert is_resumable(Position(0, 0), None)


class TestPublishing:
    async def test_a_lost_answer_is_looked_up_and_the_event_is_there_once(self) -> None:
        for fault in (Fault.LOSE_AFTER, Fault.LOSE_BEFORE):
            store = FaultyStore(MemoryStore(), script=[When("commit", 2, fault)])
            async with UserStreams(store) as streams:
                await streams.publish(ANA, "first")
                position = await streams.publish(ANA, "second")
                assert position.seq == 2
                names = [event.name for event in await take(streams.stream(ANA, after="0:0"), 2)]
                assert names == ["first", "second"]
                assert not store.unseen()
            await store.close()

    async def test_an_event_beyond_the_bound_is_refused_by_a_typed_error(self, memory: OpenStore) -> None:
        async with UserStreams(memory) as streams:
            with pytest.raises(InvalidInput, match=f"at most {EVENT_BYTES_MAX} bytes") as refused:
                await streams.publish(ANA, "big", {"text": "x" * EVENT_BYTES_MAX})
            assert refused.value.bytes_seen > refused.value.bytes_max == EVENT_BYTES_MAX
            with pytest.raises(InvalidInput, match="name"):
                await streams.publish(ANA, "")
            with pytest.raises(InvalidInput, match="1 to 64"):
                await streams.publish_all(ANA, [])

    async def test_whatever_is_no_context_is_refused(self, memory: OpenStore) -> None:
        async with UserStreams(memory) as streams:
            with pytest.raises(WrongContext, match="must be UserExecutionContext"):
                streams.stream("ana")  # type: ignore[arg-type]
            with pytest.raises(WrongContext):
                await streams.publish(None, "tick")  # type: ignore[arg-type]
            with pytest.raises(InvalidInput, match="incarnation:seq"):
                streams.stream(ANA, after="yesterday")


class CountingStore(MemoryStore):
    """Counts the calls that subscribers could make."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    async def wait(self, since: int) -> int:
        self.calls["wait"] += 1
        return await super().wait(since)

    async def events(self, scope: Scope, **more: Any) -> list[Event]:
        self.calls["events"] += 1
        return await super().events(scope, **more)


class TestLoops:
    def test_after_its_loop_ended_a_stream_is_read_in_the_next_and_in_a_second_at_once_it_is_refused(self) -> None:
        store = MemoryStore()
        streams = UserStreams(store)

        async def read_one() -> str:
            await streams.publish(ANA, "tick")
            item = await anext(streams.stream(ANA, after="0:0"))
            await streams.close()
            return str(item.position)

        assert asyncio.run(read_one()) == asyncio.run(read_one()) == "1:1"

        async def read_in_another_thread() -> None:
            streams.stream(ANA)
            with pytest.raises(Unavailable, match="saw another"):
                await asyncio.to_thread(asyncio.run, read_one())
            await streams.close()

        asyncio.run(read_in_another_thread())


class TestEnds:
    async def test_where_streams_end_is_one_question_and_says_what_their_events_say(self, store: OpenStore) -> None:
        for number in range(3):
            await run_record(store, number)
        await run_record(store, 9, user="ben")
        streams = [("acme", "ben"), ("acme", "nobody"), ("acme", "ana"), ("other", "ana")]
        ends = await stream_ends(store, streams)
        if ends is None:
            assert store.capabilities.location == "memory:"
            return
        assert [end.seq for end in ends] == [1, 0, 3, 0]
        (last,) = await store.events(SYSTEM, stream=("acme", "ana"), after=ends[2]._replace(seq=2))
        assert last.position == ends[2]

    async def test_too_many_streams_at_once_are_refused(self, sqlite: OpenStore) -> None:
        with pytest.raises(InvalidInput, match="at most 10000"):
            await stream_ends(sqlite, [("acme", str(number)) for number in range(10_001)])

    async def test_a_sweep_is_one_question_and_wakes_him_alone_whose_stream_it_is(self, sqlite: OpenStore) -> None:
        async with UserStreams(sqlite) as streams:
            readers = [streams.stream(context(f"u{n}"), after="0:0") for n in range(SUBSCRIBERS)]
            waiting = [asyncio.ensure_future(anext(reader)) for reader in readers]
            await until(lambda: streams.bell.sweeps and all(reader._ear.is_waiting for reader in readers), "all wait")
            sweeps, looks, rings = streams.bell.sweeps, streams.bell.looks, streams.bell.rings
            await run_record(sqlite, 1, user="u7")
            async with asyncio.timeout(30):
                assert (await waiting[7]).name == "started"
            assert streams.bell.looks - looks == streams.bell.sweeps - sweeps >= 1
            assert streams.bell.rings - rings == 1
            assert sum(task.done() for task in waiting) == 1
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    def test_an_end_is_news_once(self) -> None:
        cursor, end = Position(1, 4), Position(1, 5)
        assert is_news(end, cursor=cursor, told=None)
        assert not is_news(end, cursor=end, told=None)
        assert not is_news(Position(1, 0), cursor=Position(0, 0), told=None), "a stream that is empty"
        assert not is_news(end, cursor=cursor, told=end), "what retention took is not found, however often one looks"
        assert is_news(Position(1, 6), cursor=cursor, told=end)
        assert is_news(Position(2, 4), cursor=cursor, told=end), "another history that is as long"


class HeldAnswers(MemoryStore):
    """Holds the answer to one read of a stream back until it is let go, so that the answer is old by then."""

    def __init__(self) -> None:
        super().__init__()
        self.is_read, self.let_go, self.hold = asyncio.Event(), asyncio.Event(), False

    async def events(self, scope: Scope, **more: Any) -> list[Event]:
        found = await super().events(scope, **more)
        if self.hold and more["limit"] > 1:  # a reader's, not the look of a sweep
            self.hold = False
            self.is_read.set()
            await self.let_go.wait()
        return found


class TestManySubscribers:
    async def test_what_is_committed_between_a_readers_look_and_its_wait_wakes_it(self) -> None:
        store = HeldAnswers()
        async with UserStreams(store) as streams:
            reader = streams.stream(ANA, after="0:0")
            waiting = asyncio.ensure_future(anext(reader))
            await until(lambda: reader._ear.is_waiting and streams.bell.sweeps == 1, "it waits")
            store.hold = True
            reader._ear.ring()
            await store.is_read.wait()
            await run_record(store, 1)  # seen by nobody but the sweep, while the reader's answer is on its way
            await until(lambda: streams.bell.sweeps == 2, "the sweep is over before the reader waits")
            store.let_go.set()
            async with asyncio.timeout(10):
                assert (await waiting).name == "started"
        await store.close()

    async def test_a_thousand_waiters_are_one_waiter_at_the_store(self) -> None:
        store = CountingStore()
        async with UserStreams(store) as streams:
            readers = [streams.stream(context(f"u{n}"), after="0:0") for n in range(SUBSCRIBERS)]
            waiting = [asyncio.ensure_future(anext(reader)) for reader in readers]
            await until(lambda: all(reader._ear.is_waiting for reader in readers), "all wait")
            await until(lambda: streams.bell.sweeps > 0, "the first sweep")
            waits, reads = store.calls["wait"], store.calls["events"]
            await streams.publish(context("u7"), "tick")
            async with asyncio.timeout(30):
                assert (await waiting[7]).name == "tick"
            assert store.calls["wait"] - waits <= 3, "no subscriber waits at the store by himself"
            assert sum(task.done() for task in waiting) == 1, "nobody else was told"
            assert store.calls["events"] - reads <= 2 * SUBSCRIBERS + 10, "at most a sweep or two"
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        await store.close()

    async def test_a_thousand_readers_of_one_user_share_their_reads(self) -> None:
        class Slow(CountingStore):
            async def events(self, scope: Scope, **more: Any) -> list[Event]:
                await asyncio.sleep(0)
                return await super().events(scope, **more)

        store = Slow()
        async with UserStreams(store) as streams:
            readers = [streams.stream(ANA, after="0:0") for _ in range(SUBSCRIBERS)]
            following = [asyncio.ensure_future(take(reader, 3)) for reader in readers]
            await until(lambda: all(reader._ear.is_waiting for reader in readers), "all wait")
            reads = store.calls["events"]
            for n in range(3):
                await streams.publish(ANA, "tick", n)
                await asyncio.sleep(0.01)
            for events in await asyncio.gather(*following):
                assert [event.data for event in events] == [0, 1, 2]
            assert store.calls["events"] - reads < 50
        await store.close()

    async def test_a_reader_that_is_cancelled_in_a_shared_read_takes_nobody_along(self) -> None:
        store = HeldAnswers()
        async with UserStreams(store) as streams:
            await streams.publish(ANA, "tick")
            store.hold = True
            first, second = (asyncio.ensure_future(anext(streams.stream(ANA, after="0:0"))) for _ in range(2))
            await store.is_read.wait()
            await asyncio.sleep(0)
            first.cancel()
            async with asyncio.timeout(10):
                assert (await second).name == "tick"
        await store.close()

    async def test_a_slow_reader_holds_a_page_and_no_more(self, memory: OpenStore) -> None:
        async with UserStreams(memory) as streams:
            for n in range(10 * PAGE_FIRST):
                await streams.publish(ANA, "tick", {"n": n})
            slow = streams.stream(ANA, after="0:0")
            await take(slow, 1)
            assert len(slow._page) == PAGE_FIRST - 1

    def test_pages_grow_while_there_is_more_and_weigh_no_more_than_they_may(self) -> None:
        assert next_page(PAGE_FIRST, got=PAGE_FIRST, got_bytes=PAGE_FIRST * 200) == 4 * PAGE_FIRST
        assert next_page(PAGE_MAX, got=PAGE_MAX, got_bytes=PAGE_MAX * 100) == PAGE_MAX
        assert next_page(PAGE_MAX, got=PAGE_MAX, got_bytes=PAGE_MAX * 1024) == PAGE_BYTES // 1024
        assert next_page(PAGE_MAX, got=PAGE_MAX, got_bytes=PAGE_MAX * EVENT_BYTES_MAX) == PAGE_LEAST
        assert next_page(PAGE_MAX, got=PAGE_MAX - 1, got_bytes=1) == PAGE_FIRST

    async def test_a_reader_that_is_dropped_listens_no_more(self, memory: OpenStore) -> None:
        async with UserStreams(memory) as streams:
            await streams.publish(ANA, "tick")
            reader = streams.stream(ANA, after="0:0")
            await take(reader, 1)
            async for _ in streams.stream(BEN):
                break
            assert len(streams.bell) == 1
            del reader
            gc.collect()
            assert len(streams.bell) == 0
            assert not streams.bell._ears
