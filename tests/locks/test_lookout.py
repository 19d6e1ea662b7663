"""One look for all who wait in a tree: called are those for whom there is something to do, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import Unavailable
from holdfast.locks import LockBook, LockRequest, LockTree, Lookout, Ticket, lock_key
from holdfast.locks.lookout import AGAIN_S
from holdfast.locks.rules import called, standing
from holdfast.store.contract.records import Change, Key, Put, Record, Scope
from holdfast.store.memory import MemoryStore
from holdfast.tasks import Supervisor
from holdfast.testing import VirtualClock

KEY = lock_key("t", "repository", "a")
NOW = 1000.0
HOLDERS = ("run:1", "run:2", "run:3", "lease:4")

tickets = st.builds(
    Ticket,
    holder=st.sampled_from(HOLDERS),
    by=st.just("ana"),
    since=st.just(0.0),
    name=st.sampled_from(("a", "a/b", "a/c")),
    mode=st.sampled_from(("exclusive", "shared")),
    token=st.sampled_from((0, 0, 7)),
    expires_at=st.sampled_from((None, NOW - 1, NOW + 1)),
)
trees = st.lists(tickets, max_size=6, unique_by=lambda ticket: (ticket.holder, ticket.name)).map(
    lambda queue: LockTree("repository", "a", tuple(queue))
)


@given(trees)
def test_called_are_those_who_would_find_something_to_do(tree: LockTree) -> None:
    """As each of them would judge who looked himself, by all that he has in the tree."""
    found = called(tree, HOLDERS, now=NOW)
    for holder in HOLDERS:
        own = [ticket for ticket in tree.queue if ticket.holder == holder]
        requests = [LockRequest("repository", ticket.name, ticket.mode) for ticket in own]
        place = standing([tree] * len(requests), requests, holder, now=NOW)
        blocked = [ticket for ticket in own if not ticket.token and not ticket.is_lapsed(NOW)]
        if place.must_ask and blocked:
            continue  # he waits for one and must ask for another: he is called once the one before him moves
        assert (holder in found) == (not own or bool(place.tokens) or place.must_ask)


class AwayStore(MemoryStore):
    """Counts reads, and gives no answer while `is_away`."""

    reads = 0
    is_away = False

    async def read(self, scope: Scope, keys: Sequence[Key]) -> list[Record | None]:
        self.reads += 1
        if self.is_away:
            raise Unavailable("store: away, on purpose")
        return await super().read(scope, keys)


class Line:
    """Three who wait for one lock, and what they were called."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = AwayStore(clock=self.clock)
        self.tasks = Supervisor("test", on_failure=lambda name, error: None)
        self.lookout = Lookout(self.store, self.tasks)
        self.calls: list[str] = []
        self.callers = {holder: partial(self.calls.append, holder) for holder in ("run:0", *HOLDERS)}
        for holder in HOLDERS[:3]:
            self.lookout.watch([KEY], holder, self.callers[holder])

    def unwatch(self, holder: str) -> None:
        self.lookout.unwatch([KEY], holder, self.callers[holder])

    async def write(self, change: Callable[[LockBook], None]) -> None:
        book = await LockBook.read(self.store, "t", [REQUEST])
        change(book)
        puts, _ = book.change()
        await self.store.commit(Scope.of_tenant("t"), Change(change_id=str(self.clock.time_s()), writes=puts))
        self.clock.advance_to(self.clock.time_s() + 0.001)

    async def looked(self) -> None:
        while len(self.tasks):  # noqa: ASYNC110 - each look ends by itself
            await asyncio.sleep(0)


REQUEST = LockRequest("repository", "a")


def ask(holder: str) -> Callable[[LockBook], None]:
    return lambda book: book.ask([REQUEST], Ticket(holder, "ana", book.now, name=""))


def release(holder: str) -> Callable[[LockBook], None]:
    return lambda book: book.release([REQUEST], holder)


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    line = Line()
    for holder in ("run:0", *HOLDERS[:3]):
        await line.write(ask(holder))
    yield line
    await line.tasks.stop()
    await line.store.close()


async def test_nobody_is_called_before_his_turn(line: Line) -> None:
    before = line.store.reads
    for _ in range(10):
        line.lookout.changed(KEY)
        line.lookout.look_again()
    await line.looked()
    assert (line.calls, line.store.reads - before) == ([], 1)


async def test_the_one_whose_turn_it_is_is_called_once_and_then_now_and_again(line: Line) -> None:
    await line.write(release("run:0"))
    for _ in range(3):
        line.lookout.changed(KEY)
        await line.looked()
    assert line.calls == ["run:1"]
    line.clock.advance_to(line.clock.time_s() + AGAIN_S)
    line.lookout.look_again()
    await line.looked()
    assert line.calls == ["run:1", "run:1"]


async def test_who_gets_his_place_from_one_that_was_called_is_called_at_once(line: Line) -> None:
    for holder, then in (("run:0", "run:1"), ("run:1", "run:2"), ("run:2", "run:3")):
        line.unwatch(holder)
        await line.write(release(holder))
        line.lookout.changed(KEY)
        await line.looked()
        assert line.calls[-1] == then
    assert len(line.calls) == 3


async def test_who_is_gone_from_the_tree_is_called(line: Line) -> None:
    await line.write(release("run:2"))
    line.lookout.changed(KEY)
    await line.looked()
    assert line.calls == ["run:2"]


@pytest.mark.parametrize("trouble", ["away", "damaged"])
async def test_where_nobody_can_look_for_all_each_looks_himself(line: Line, trouble: str) -> None:
    if trouble == "away":
        line.store.is_away = True
    else:
        record = (await line.store.read(Scope.of_tenant("t"), [KEY]))[0]
        assert record is not None
        put = Put(key=KEY, body=b"[]", expect=record.version)
        await line.store.commit(Scope.of_tenant("t"), Change(change_id="damage", writes=(put,)))
    line.lookout.changed(KEY)
    await line.looked()
    assert line.calls == ["run:1", "run:2", "run:3"]


async def test_who_was_taken_up_anew_still_waits_when_his_former_self_ends(line: Line) -> None:
    anew = partial(line.calls.append, "run:1 anew")
    line.lookout.watch([KEY], "run:1", anew)
    line.unwatch("run:1")
    await line.write(release("run:0"))
    line.lookout.changed(KEY)
    await line.looked()
    assert line.calls == ["run:1 anew"]


async def test_nothing_is_kept_of_those_who_wait_no_more(line: Line) -> None:
    for holder in HOLDERS[:3]:
        line.unwatch(holder)
    line.lookout.changed(KEY)
    line.lookout.look_again()
    assert (repr(line.lookout), len(line.tasks)) == ("Lookout(trees=0, waiting=0)", 0)
