"""A store whose server is away refuses at once, asks a cheap question and goes on; no answer changes its meaning."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest

from holdfast.clock import monotonic_s
from holdfast.errors import BreakerOpen, CommitUnknown, Conflict, HoldfastError, InvalidInput, Unavailable
from holdfast.store.contract.protocol import OpenStore
from holdfast.store.contract.records import Change, Key, Put, Scope
from holdfast.store.open import open_store
from holdfast.store.servers.breaker import FAILURES_IN_ROW, OPEN_MAX_S, ServerBreaker, breakers_of
from holdfast.store.writing.outcome import commit_surely
from holdfast.testing.servers import PostgresServer, ValkeyServer

ANA = Scope("main", "ana")
AT_ONCE_S = 0.05
"""What a refusal may take on a crowded machine; a connection that nobody answers takes five seconds."""
WITHIN_S = 20.0


class Server:
    """A server of a test's own, which it may stop and start."""

    def __init__(self, url: str, start: Callable[[], None], stop: Callable[[], None]) -> None:
        self.url, self.start, self.stop = url, start, stop


@pytest.fixture(params=["postgres", "redis"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    if request.param == "postgres":
        with PostgresServer() as postgres:
            yield Server(postgres.url(), postgres.start, lambda: postgres.stop(mode="immediate"))
    else:
        with ValkeyServer(options=["--appendonly", "yes", "--appendfsync", "always"]) as valkey:
            yield Server(valkey.url, valkey.start, valkey.kill)


def a_change(number: int, *, expect: int = 0) -> Change:
    key = Key("main", "ana", "run", f"r{number}")
    return Change(change_id=f"c{number}-{expect}", writes=(Put(key=key, body=b"1", expect=expect),))


async def until_open(store: OpenStore) -> None:
    (guard,) = breakers_of(store)
    async with asyncio.timeout(WITHIN_S):
        while guard.breaker.state == "closed":
            with suppress(Unavailable, CommitUnknown):
                await store.commit(ANA, a_change(0, expect=1))
            await asyncio.sleep(0)


async def test_a_server_that_is_away_is_refused_at_once_and_one_that_is_back_is_used_at_once(server: Server) -> None:
    store = open_store(server.url)
    (guard,) = breakers_of(store)
    try:
        await store.commit(ANA, a_change(1))
        server.stop()
        await until_open(store)
        said: list[Unavailable] = []
        for _ in range(200):
            with pytest.raises(Unavailable) as caught:
                await store.read(ANA, [Key("main", "ana", "run", "r1")])
            said.append(caught.value)
        refusals = [error.facts for error in said if isinstance(error, BreakerOpen)]
        assert len(refusals) >= 190, "but for looks that found it away"
        assert {facts["breaker"] for facts in refusals} == {guard.breaker.name}
        assert max(facts["retry_after_s"] for facts in refusals) <= max(OPEN_MAX_S, guard.breaker.options.probe_ttl_s)
        with suppress(Unavailable):
            await store.commit(ANA, a_change(1, expect=1))
        assert store.ailment() is not None
        server.start()
        async with asyncio.timeout(WITHIN_S):
            while True:
                try:
                    await store.commit(ANA, a_change(2))
                    break
                except Unavailable:
                    await asyncio.sleep(0.01)
        assert guard.breaker.look().share == 1.0, "a store's pool is its ramp"
        assert [
            record is not None for record in await store.read(ANA, [a_change(n).writes[0].key for n in (1, 2)])
        ] == [
            True,
            True,
        ]
    finally:
        await store.close()


@pytest.mark.parametrize("scheme", ["postgresql", "redis"])
async def test_nobody_waits_for_a_connection_that_nobody_answers(scheme: str) -> None:
    """A port that takes connections and says nothing: three callers find out, all others are refused."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=500)) as silent:
        port = silent.getsockname()[1]
        store = open_store(f"{scheme}://ana@127.0.0.1:{port}/0")
        try:
            reads = [store.read(ANA, [Key("main", "ana", "run", str(number))]) for number in range(FAILURES_IN_ROW)]
            await asyncio.gather(*(asyncio.ensure_future(read) for read in reads), return_exceptions=True)
            await until_open(store)
            slow = 0
            for _ in range(100):
                began = monotonic_s()
                with pytest.raises(Unavailable):
                    await store.read(ANA, [Key("main", "ana", "run", "r1")])
                slow += monotonic_s() - began > AT_ONCE_S
            assert slow <= 5, "but for who asks the cheap question"
        finally:
            await store.close()


async def test_what_a_server_refuses_shows_that_it_is_there(server: Server) -> None:
    store = open_store(server.url)
    (guard,) = breakers_of(store)
    try:
        await store.commit(ANA, a_change(1))
        for _ in range(20):
            with pytest.raises(Conflict):
                await store.commit(ANA, a_change(1))
            with pytest.raises(InvalidInput):
                await store.commit(ANA, Change(change_id="", writes=()))
        assert guard.breaker.state == "closed"
        assert guard.breaker.look().counts.failures == 0
    finally:
        await store.close()


async def test_a_lost_commit_that_cannot_be_looked_up_stays_unknown(server: Server) -> None:
    """The server goes away under a commit, and the breaker opens before it is looked up."""
    store = open_store(server.url)
    (guard,) = breakers_of(store)
    await store.commit(ANA, a_change(1))
    change = a_change(2)
    try:

        class Lossy:
            """The store, losing the answer of one commit."""

            def __getattr__(self, name: str) -> object:
                return getattr(store, name)

            async def commit(self, scope: Scope, change: Change) -> object:
                await store.commit(scope, change)
                server.stop()
                guard.breaker.open("it is away")
                raise CommitUnknown("the answer was lost")

        with pytest.raises(CommitUnknown, match="nor can it be looked up: breaker store"):
            await commit_surely(Lossy(), ANA, change)  # type: ignore[arg-type]
        with pytest.raises(BreakerOpen):
            await store.commit(ANA, a_change(3))
        server.start()
        async with asyncio.timeout(WITHIN_S):
            while True:
                with suppress(Unavailable):
                    found = await store.read(ANA, [a_change(2).writes[0].key, a_change(3).writes[0].key])
                    break
                await asyncio.sleep(0.01)
        assert [record is not None for record in found] == [True, False], "what was refused was not written"
    finally:
        await store.close()


class Bench:
    """A breaker over a server that a test plays, on a clock that it moves."""

    def __init__(self, *, has_parts: bool = False) -> None:
        self.now = 100.0
        self.is_away = False
        self.calls = self.questions = 0
        self.hang: asyncio.Event | None = None
        self.guard = ServerBreaker(
            "store.test",
            "database",
            self._ask,
            is_away=lambda error: isinstance(error, ConnectionError),
            has_parts=has_parts,
            clock=lambda: self.now,
        )

    async def _ask(self) -> bool:
        self.questions += 1
        if self.hang is not None:
            await self.hang.wait()
        return not self.is_away

    async def call(self) -> None:
        async with self.guard.passing():
            self.calls += 1
            if self.is_away:
                raise ConnectionError("away")

    async def fail(self, times: int = FAILURES_IN_ROW) -> None:
        self.is_away = True
        for _ in range(times):
            with pytest.raises(ConnectionError):
                await self.call()


async def test_no_call_is_a_probe_but_the_cheap_question() -> None:
    bench = Bench()
    await bench.fail()
    for _ in range(10):
        bench.now += OPEN_MAX_S
        with pytest.raises(BreakerOpen):
            await bench.call()
    assert (bench.calls, bench.questions) == (FAILURES_IN_ROW, 10)
    bench.is_away = False
    bench.now += OPEN_MAX_S
    await bench.call()
    assert (bench.calls, bench.questions) == (FAILURES_IN_ROW + 1, 11)


async def test_one_asks_while_all_others_are_refused() -> None:
    bench = Bench()
    await bench.fail()
    bench.is_away, bench.hang = False, asyncio.Event()
    bench.now += OPEN_MAX_S
    first = asyncio.ensure_future(bench.call())
    await asyncio.sleep(0)
    for _ in range(50):
        with pytest.raises(BreakerOpen):
            await bench.call()
    bench.hang.set()
    await first
    assert bench.questions == 1


async def test_who_is_cancelled_as_he_asks_gives_the_question_back() -> None:
    bench = Bench()
    await bench.fail()
    bench.is_away, bench.hang = False, asyncio.Event()
    bench.now += OPEN_MAX_S
    first = asyncio.ensure_future(bench.call())
    await asyncio.sleep(0)
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    bench.hang = None
    await bench.call()
    assert (bench.calls, bench.questions) == (FAILURES_IN_ROW + 1, 2)


async def test_of_several_servers_one_that_is_away_opens_nothing() -> None:
    bench = Bench(has_parts=True)
    for _ in range(20):
        await bench.fail(4)
        bench.is_away = False
        await bench.call()
    assert bench.guard.breaker.state == "closed"


async def test_a_refusal_of_the_server_between_failures_is_no_success_and_no_failure() -> None:
    bench = Bench()
    await bench.fail(FAILURES_IN_ROW - 1)
    with pytest.raises(HoldfastError):
        async with bench.guard.passing():
            raise Conflict("somebody else was first")
    assert bench.guard.breaker.state == "closed"
    await bench.fail(1)
    assert bench.guard.breaker.state == "open"
