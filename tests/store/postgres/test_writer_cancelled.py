"""A loop that ends while it writes, for others too: what was committed is told as committed, and not written again."""

from __future__ import annotations

import asyncio
import threading

from holdfast.store.contract.records import Change, Key, NewEvent, Put, Scope
from holdfast.store.postgres import PostgresStore
from holdfast.store.postgres.address import parse
from holdfast.store.postgres.connections import Connection, Connections
from holdfast.store.postgres.schema import Schema
from holdfast.store.postgres.writer import BatchWriter
from holdfast.store.servers.clock import ServerTime
from holdfast.store.writing.committer import Committer

ANA = Scope("main", "ana")
LIMIT_S = 45.0
ENDINGS = 25


def a_change(id: str) -> Change:
    key = Key("main", "ana", "run", id)
    return Change(
        change_id=id, writes=(Put(key=key, body=b"1", expect=0),), events=(NewEvent(key=key, name="made", body=b"{}"),)
    )


class CutShort(Connections):
    """Cancels whoever gives a connection back, as the end of a loop does."""

    async def release(self, connection: Connection, *, is_done: bool) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await super().release(connection, is_done=is_done)


async def test_a_writer_cancelled_after_its_commit_does_not_commit_again(database: str) -> None:
    """By a transaction at first, then by one message: each sender hears of his own write as his own."""
    connections, others = CutShort(parse(database), size=1), Connections(parse(database), size=1)
    writer = BatchWriter(connections, Schema(others), ServerTime(), slot=0, witness=None, on_committed=nothing)
    committer = Committer(writer.write, place="here", on_committed=lambda: None)
    async with asyncio.timeout(LIMIT_S):
        for number in range(4):
            commit = await committer.commit(ANA, a_change(f"r{number}"), 1)
            assert commit.versions == (1,)
    await committer.close()
    await connections.close()
    await others.close()
    store = PostgresStore(database)
    changes = [event.change_id for event in await store.events(ANA, stream=("main", "ana"))]
    assert changes == ["r0", "r1", "r2", "r3"]
    await store.close()


async def nothing() -> None:
    """Nobody is told."""


async def test_loops_that_end_while_they_write_for_others_lose_and_double_nothing(database: str) -> None:
    """Threads come and go, each with a loop that commits and ends at once, while this one commits all the time. Each of
    the changes is committed once, and who waits for an answer learns that."""
    store = PostgresStore(database)

    def come_and_go(name: str) -> None:
        async def commit() -> None:
            sent = [asyncio.ensure_future(store.commit(ANA, a_change(f"{name}-{number}"))) for number in range(5)]
            await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)

        asyncio.run(commit())

    async def commit_all_the_time(lane: int) -> int:
        count = 0
        while not is_over.is_set():
            count += 1
            commit = await store.commit(ANA, a_change(f"here-{lane}-{count}"))
            assert commit.versions == (1,)
        return count

    is_over = threading.Event()
    async with asyncio.timeout(LIMIT_S):
        async with asyncio.TaskGroup() as group:
            here = [group.create_task(commit_all_the_time(lane)) for lane in range(4)]
            for number in range(ENDINGS):
                await asyncio.get_running_loop().run_in_executor(None, come_and_go, f"t{number}")
            is_over.set()
    changes = [event.change_id for event in await store.events(ANA, stream=("main", "ana"), limit=10_000)]
    assert len(changes) == len(set(changes))
    assert sum(change.startswith("here") for change in changes) == sum(task.result() for task in here)
    assert (await store.verify()).is_clean
    await store.close()
