"""A connection that is cut at the moment of a commit: what became of it is looked up, and said right."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from holdfast.errors import CommitUnknown, Unavailable
from holdfast.store.contract.records import Change, Claim, Key, NewEvent, Put, Query, Record, Scope
from holdfast.store.postgres import PostgresStore
from holdfast.store.postgres.address import parse
from holdfast.store.postgres.connections import Connections
from holdfast.store.postgres.reader import READS_MAX
from holdfast.store.writing.outcome import commit_surely
from tests.network.proxy import Fate, Once, proxied

ANA = Scope("main", "ana")
LOST = [Fate.CUT_BEFORE, Fate.CUT_AFTER, Fate.CUT_ANSWERED]
SYSTEM = Scope.system()
LIMIT_S = 45.0


def a_change(number: int, *, id: str = "", expect: int = 0, name: str = "c") -> Change:
    """Puts a record that is not there, and journals it."""
    key = Key("main", "ana", "run", id or f"r{number}")
    return Change(
        change_id=f"{name}{number}",
        writes=(Put(key=key, body=b"1", expect=expect, queue="q"),),
        events=(NewEvent(key=key, name="made", body=b"{}"),),
    )


@pytest.mark.parametrize("fate", LOST)
@pytest.mark.parametrize("statement", ["COMMIT", "holdfast.commit_1"])
@pytest.mark.parametrize("count", [1, 64])
async def test_a_commit_whose_answer_is_lost_happens_once(
    database: str, statement: str, fate: Fate, count: int
) -> None:
    """A single one and a batch, by a transaction and by one message: each sender learns the outcome, and no sender
    meets a conflict with himself."""
    once = Once(statement, fate)
    with proxied(database, once) as proxy:
        store = PostgresStore(proxy.url(database))
        if statement != "COMMIT":  # what was committed once is remembered, and the next batch goes in one message
            await store.commit(ANA, a_change(0, id="first"))
        once.arm()
        changes = [a_change(number) for number in range(1, count + 1)]
        commits = await asyncio.gather(*(commit_surely(store, ANA, change) for change in changes))
        assert once.happened.is_set()
        assert [commit.versions for commit in commits] == [(1,)] * count
        events = await store.events(SYSTEM, stream=("main", "ana"))
        assert sorted(event.change_id for event in events if event.change_id != "c0") == sorted(
            change.change_id for change in changes
        )
        assert sorted(commit.position for commit in commits) == [
            event.position for event in events if event.change_id != "c0"
        ]
        assert (await store.verify()).is_clean
        await store.close()


@pytest.mark.parametrize("fate", LOST)
async def test_a_claim_whose_answer_is_lost_took_its_records_or_none(database: str, fate: Fate) -> None:
    """It is told as unknown, and the next claim of the same owner takes what is left."""
    once = Once("COMMIT", fate)
    with proxied(database, once) as proxy:
        store = PostgresStore(proxy.url(database))
        for number in range(4):
            await store.commit(ANA, a_change(number))
        once.arm()
        with pytest.raises(CommitUnknown):
            await store.claim(SYSTEM, Claim(kind="run", owner="me", from_owners=("",), limit=4))
        assert once.happened.is_set()
        await store.claim(SYSTEM, Claim(kind="run", owner="me", from_owners=("",), limit=4))
        records = await store.read(ANA, [Key("main", "ana", "run", f"r{number}") for number in range(4)])
        assert [(record.owner, record.epoch) for record in records if record] == [("me", 1)] * 4
        await store.close()


async def read(store: PostgresStore) -> list[Record | None]:
    return await store.read(ANA, [Key("main", "ana", "run", "r1")])


async def scan(store: PostgresStore) -> Sequence[Record | None]:
    return (await store.scan(ANA, Query(kind="run"))).records


async def claim(store: PostgresStore) -> Sequence[Record | None]:
    return await store.claim(SYSTEM, Claim(kind="run", owner="me", from_owners=("",), limit=1))


Work = Callable[[PostgresStore], Awaitable[Sequence[Record | None]]]
READS = [(read, "read_1"), *((scan, statement) for statement in ("BEGIN", "FROM holdfast.records", "COMMIT"))]
CLAIMS = [(claim, statement) for statement in ("BEGIN", "FROM holdfast.records", "COMMIT")]


@pytest.mark.parametrize(("work", "statement"), READS)
@pytest.mark.parametrize("fate", LOST)
async def test_a_read_that_is_cut_off_is_read_again(database: str, work: Work, statement: str, fate: Fate) -> None:
    """Wherever in it: a read has no outcome that anybody would have to look up."""
    once = Once(statement, fate)
    with proxied(database, once) as proxy:
        store = PostgresStore(proxy.url(database))
        await store.commit(ANA, a_change(1))
        once.arm()
        assert [record.version for record in await work(store) if record] == [1]
        assert once.happened.is_set()
        await store.close()


@pytest.mark.parametrize("statement", ["BEGIN", "FROM holdfast.events", "COMMIT"])
async def test_a_read_that_is_cut_off_again_and_again_is_unavailable(database: str, statement: str) -> None:
    """And never of unknown outcome. Where it could not begin, each try takes the one connection, and another."""
    cuts = READS_MAX * 2 if statement == "BEGIN" else READS_MAX
    is_rough = False

    def decide(sql: str) -> Fate:
        return Fate.CUT_ANSWERED if is_rough and statement in sql else Fate.PASS

    with proxied(database, decide) as proxy:
        store = PostgresStore(f"{proxy.url(database)}?pool_size=2")
        await store.commit(ANA, a_change(1))
        is_rough = True
        with pytest.raises(Unavailable, match="lost"):
            await store.events(ANA, stream=("main", "ana"))
        assert proxy.fates[Fate.CUT_ANSWERED] == cuts
        is_rough = False
        assert len(await store.events(ANA, stream=("main", "ana"))) == 1
        await store.close()


@pytest.mark.parametrize(("work", "statement"), [*READS, *CLAIMS])
async def test_who_is_cancelled_while_the_server_is_silent_is_cancelled(
    database: str, work: Work, statement: str
) -> None:
    """Reading and claiming: the cancellation passes through, and nobody is left waiting or without a connection."""
    once = Once(statement, Fate.STALL)
    with proxied(database, once) as proxy:
        store = PostgresStore(f"{proxy.url(database)}?pool_size=2")
        await store.commit(ANA, a_change(1))
        once.arm()
        task = asyncio.ensure_future(work(store))
        await asyncio.to_thread(once.happened.wait, LIMIT_S)
        task.cancel()
        async with asyncio.timeout(LIMIT_S):
            with pytest.raises(asyncio.CancelledError):
                await task
            assert len(await read(store)) == len(await scan(store)) == 1
        await store.close()


@pytest.mark.parametrize("statement", ["BEGIN", "FROM holdfast.records", "COMMIT"])
async def test_a_server_that_falls_silent_is_unavailable_in_time(database: str, statement: str) -> None:
    """At whichever statement of a transaction, those in its middle too."""
    once = Once(statement, Fate.STALL)
    with proxied(database, once) as proxy:
        connections = Connections(parse(proxy.url(database))._replace(statement_timeout_s=3, grace_s=-0.5), size=1)
        once.arm()
        async with asyncio.timeout(LIMIT_S):
            with pytest.raises(Unavailable, match="expected an answer in time"):
                async with connections.reading(ANA) as connection:
                    await connection.fetch("SELECT count(*) FROM holdfast.records")
            async with connections.reading(ANA) as connection:
                assert await connection.fetchval("SELECT count(*) FROM holdfast.records") == 0
        await connections.close()


@pytest.mark.parametrize("statement", ["COMMIT", "holdfast.commit_1"])
async def test_a_commit_that_reaches_the_server_after_it_was_looked_up_does_no_harm(
    database: str, statement: str
) -> None:
    """The way to the server is slow: the change is looked up, not found, and sent again before the first one comes."""
    once = Once(statement, Fate.CUT_LATE)
    with proxied(database, once) as proxy:
        store = PostgresStore(proxy.url(database))
        if statement != "COMMIT":
            await store.commit(ANA, a_change(0, id="first"))
        once.arm()
        commit = await commit_surely(store, ANA, a_change(1))
        assert once.happened.is_set()
        await asyncio.to_thread(proxy.late.acquire, timeout=LIMIT_S)  # by now the first one has come as well
        assert commit.versions == (1,)
        events = await store.events(ANA, record=Key("main", "ana", "run", "r1"))
        assert [(event.change_id, event.version) for event in events] == [("c1", 1)]
        assert (await store.verify()).is_clean
        await store.close()
