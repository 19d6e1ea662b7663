"""Writers that get in each other's way: what they lock and make is in one order, so that nobody waits in a circle."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from holdfast.errors import Conflict, Fenced
from holdfast.store.contract.records import (
    ABSENT,
    Change,
    Claim,
    Commit,
    Delete,
    Key,
    NewEvent,
    Put,
    RemovePrefix,
    Require,
    Scope,
)
from holdfast.store.postgres import PostgresStore
from holdfast.testing.servers import PostgresServer

WRITERS = 3
SENDERS = 8
ROUNDS = 30
USERS = ("ana", "bob", "cid")
KINDS = ("lock", "memo", "run")
IDS = ("a0", "a1", "a2", "b0", "b1", "b2")
LIMIT_S = 45.0
SYSTEM = Scope.system()


class Writer:
    """One process's store and its senders, who draw what they change from the same few keys in any order."""

    def __init__(self, url: str, name: str, seed: int) -> None:
        self.store = PostgresStore(url)
        self.versions: Counter[Key] = Counter()
        self.events: Counter[tuple[str, str]] = Counter()
        self.answers: Counter[str] = Counter()
        self._name = name
        self._draw = random.Random(seed)
        self._count = 0

    async def work(self) -> None:
        """All senders at once."""
        async with asyncio.TaskGroup() as group:
            for _ in range(SENDERS):
                group.create_task(self._send())

    async def _send(self) -> None:
        for _ in range(ROUNDS):
            if self._draw.random() < 0.1:
                owners = [f"p{self._draw.randrange(3)}", "", f"p{self._draw.randrange(3)}"]
                await self.store.claim(SYSTEM, Claim(kind="run", owner=owners[0], from_owners=tuple(owners[1:])))
                continue
            change = self._change()
            try:
                commit = await self.store.commit(SYSTEM, change)
            except (Conflict, Fenced) as error:
                self.answers[type(error).__name__] += 1
            else:
                self._note(change, commit)

    def _note(self, change: Change, commit: Commit) -> None:
        self.answers["committed"] += 1
        self.versions.update(write.key for write in change.writes if isinstance(write, Put))
        self.events.update((event.key.tenant, event.key.user) for event in change.events)
        assert len(commit.versions) == len(change.writes)

    def _change(self) -> Change:
        draw = self._draw
        self._count += 1
        keys = draw.sample([Key("main", user, kind, id_) for user in USERS for kind in KINDS for id_ in IDS], 5)
        # Memos may be removed by prefix, and their versions begin anew then: they are counted by nobody.
        writes: list[Put | Delete] = [
            Put(key=key, body=b"1", expect=None, owner=draw.choice((None, "", "p1")))
            for key in keys[: draw.randint(1, 4)]
        ]
        if draw.random() < 0.2 and keys[0].kind == "memo":
            writes[0] = Delete(key=keys[0], expect=None)
        written = {write.key for write in writes}
        requires = ()
        if draw.random() < 0.3:
            requires = (Require(key=keys[-1], version=draw.choice((ABSENT, ABSENT, None))),)
        removal = RemovePrefix(
            tenant="main", user=draw.choice(USERS), kind="memo", prefix=draw.choice(("a", "b", "b1"))
        )
        is_free = not any(key.kind == "memo" and key.user == removal.user for key in written)
        return Change(
            change_id=f"{self._name}-{self._count}",
            writes=tuple(writes),
            requires=requires,
            removes=(removal,) if is_free and draw.random() < 0.4 else (),
            events=tuple(
                NewEvent(key=write.key, name="told", body=b"{}")
                for write in writes
                if isinstance(write, Put) and write.key.kind != "memo" and draw.random() < 0.7
            ),
        )


@pytest.mark.parametrize("seed", range(2))
async def test_rivals_with_unsorted_changes_never_wait_in_a_circle(
    postgres_server: PostgresServer, database: str, seed: int
) -> None:
    """Three writers, shared keys and streams, old and new ones, removals, claims: the server sees no deadlock, each
    version is one successful commit, streams have no gap, and every chain is whole."""
    writers = [Writer(database, f"w{number}", seed * WRITERS + number) for number in range(WRITERS)]
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        for writer in writers:
            group.create_task(writer.work())
    store = writers[0].store
    name = database.rpartition("/")[2]
    deadlocks = f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{name}'"
    for writer in writers[1:]:
        await writer.store.close()
    versions = sum((writer.versions for writer in writers), Counter[Key]())
    keys = [key for key in versions if key.kind != "memo"]
    records = await store.read(SYSTEM, keys)
    assert {key: record.version for key, record in zip(keys, records, strict=True) if record} == {
        key: versions[key] for key in keys
    }
    for user in USERS:
        events = await store.events(SYSTEM, stream=("main", user), limit=10_000)
        assert [event.position.seq for event in events] == list(range(1, len(events) + 1))
        assert len(events) == sum(writer.events["main", user] for writer in writers)
    assert (await store.verify()).is_clean
    assert all(writer.answers["committed"] > SENDERS * ROUNDS / 2 for writer in writers), writers[0].answers
    await store.close()
    assert postgres_server.execute(deadlocks) == "0"


async def test_a_record_that_is_made_anew_behind_a_removal_in_one_batch_is_there(database: str) -> None:
    """The removal takes what was there; what was written after it stays, in whichever way the batch goes."""
    store = PostgresStore(database)
    old, other = (Key("main", "ana", "memo", f"a{number}") for number in range(2))
    for round_ in range(2):  # with what must be read, then with what is remembered
        await store.commit(SYSTEM, Change(change_id=f"old{round_}", writes=tuple(_put(key) for key in (old, other))))
        removal = RemovePrefix(tenant="main", user="ana", kind="memo", prefix="a")
        anew = Change(change_id=f"new{round_}", writes=(_put(old),))
        _, commit = await asyncio.gather(
            store.commit(SYSTEM, Change(change_id=f"gone{round_}", removes=(removal,))), store.commit(SYSTEM, anew)
        )
        assert commit.versions == (1,)
        found = await store.read(SYSTEM, [old, other])
        assert [record and record.change_id for record in found] == [f"new{round_}", None]
        await store.commit(SYSTEM, Change(change_id=f"end{round_}", removes=(removal,)))
    await store.close()


def _put(key: Key) -> Put:
    return Put(key=key, body=b"1", expect=ABSENT)
