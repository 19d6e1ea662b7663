"""Backups of a Redis that is worked on, and restores that are cut off: all of it, or nothing that looks like it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast import faults
from holdfast.errors import Unavailable
from holdfast.store.contract.records import Claim, Position, Query, Scope
from holdfast.store.redis import RedisStore
from holdfast.testing.conformance.samples import (
    ANA,
    STRANGER,
    SYSTEM,
    StepClock,
    change,
    closing,
    event,
    key,
    must_read,
    put,
)
from holdfast.testing.servers import ValkeyServer

OF_OTHER = key("a", tenant="other")


@pytest.fixture
async def store(valkey_server: ValkeyServer, namespace: str) -> AsyncIterator[RedisStore]:
    async with closing(RedisStore(f"{valkey_server.url}?namespace={namespace}")) as store:
        assert isinstance(store, RedisStore)
        yield store


@pytest.fixture
async def elsewhere(valkey_server: ValkeyServer, namespace: str) -> AsyncIterator[RedisStore]:
    """An empty place on the same server."""
    async with closing(RedisStore(f"{valkey_server.url}?namespace={namespace}-elsewhere")) as store:
        assert isinstance(store, RedisStore)
        yield store


async def test_a_restore_that_was_cut_off_is_not_taken_for_a_store(
    store: RedisStore, elsewhere: RedisStore, valkey_server: ValkeyServer, namespace: str, tmp_path: Path
) -> None:
    """Into an empty place, where nothing of before says that something is missing; asked by old and new processes."""
    await store.commit(ANA, change(*(put(f"a{number}") for number in range(300)), event("a0")))
    await store.commit(STRANGER, change(put(OF_OTHER), event(OF_OTHER)))
    await store.backup(tmp_path / "backup.db")
    faults.plan("restore-page:1:raise")
    try:
        with pytest.raises(Unavailable, match="restore-page"):
            await elsewhere.restore(tmp_path / "backup.db")
    finally:
        faults.plan("")
    newcomer = RedisStore(f"{valkey_server.url}?namespace={namespace}-elsewhere")
    for asked in (elsewhere, newcomer):
        for ask in (
            must_read(asked, "a0"),
            must_read(asked, OF_OTHER),
            asked.scan(ANA, Query(kind="run")),
            asked.scan(ANA, Query(kind="run", statuses=("open",))),
            asked.scan(STRANGER, Query(kind="run", labels={"ticket": "T"})),
            asked.claim(SYSTEM, Claim(kind="run", owner="me", from_owners=("",))),
            asked.claim(SYSTEM, Claim(kind="run", owner="me", from_owners=("",), ids=("a0",))),
            asked.events(ANA, record=key("a0")),
            asked.events(ANA, stream=("acme", "ana")),
            asked.commit(ANA, change(put("b"))),
            asked.commit(Scope.of_user("third", "ana"), change(put(key("b", tenant="third")))),
            asked.verify(),
        ):
            with pytest.raises(Unavailable, match="restore once more"):
                await ask
    await newcomer.close()
    await elsewhere.restore(tmp_path / "backup.db", overwrite=True)
    assert (await must_read(elsewhere, "a0")).version == 1
    await elsewhere.commit(Scope.of_user("third", "ana"), change(put(key("b", tenant="third"))))
    assert (await elsewhere.verify()).records == 302


async def test_a_tenant_that_the_backup_does_not_know_begins_in_the_new_incarnation(
    store: RedisStore, elsewhere: RedisStore, tmp_path: Path
) -> None:
    """Who holds a position from the lost future would otherwise wait behind it for ever."""
    await store.commit(ANA, change(put("a"), event("a")))
    await store.backup(tmp_path / "backup.db")
    lost = await store.commit(STRANGER, change(put(OF_OTHER), event(OF_OTHER), event(OF_OTHER)))
    await elsewhere.restore(tmp_path / "backup.db")
    new = await elsewhere.commit(STRANGER, change(put(OF_OTHER), event(OF_OTHER)))
    assert lost.position is not None
    assert new.position == Position(lost.position.incarnation + 1, 1)
    assert len(await elsewhere.events(STRANGER, stream=("other", "ana"), after=lost.position)) == 1


async def test_a_snapshot_sees_journals_that_are_trimmed_and_replaced_meanwhile(
    valkey_server: ValkeyServer, namespace: str, tmp_path: Path
) -> None:
    clock = StepClock()
    async with closing(RedisStore(f"{valkey_server.url}?namespace={namespace}", clock=clock)) as store:
        for version in range(8):
            await store.commit(ANA, change(put("a", expect=version), put("b", expect=version), event("a"), event("b")))
        clock.advance(100)
        async with store.snapshot() as view:
            before = [history async for history in view.histories()]
        async with store.snapshot() as view:
            await store.commit(ANA, change(put("a", expect=8), event("a")))
            assert await store.trim(before_s=clock.time_s()) == 15
            await store.commit(ANA, change(put("a", expect=9), event("a")))
            await store.load([before[1]])
            assert [history async for history in view.histories()] == before
        assert (await store.verify()).is_clean


async def test_what_is_kept_aside_for_a_dead_reader_goes(
    store: RedisStore, valkey_server: ValkeyServer, namespace: str
) -> None:
    await store.commit(ANA, change(put("a"), put("b")))
    async with store.snapshot() as view:
        await store.commit(ANA, change(put("a", expect=1)))
        await store._calls.script("view", "acme", "another", "0")  # begun when all before counts as long ago
        assert "snapshot:another" not in valkey_server.command("KEYS", f"{namespace}*snapshot:*")
        assert valkey_server.command("KEYS", f"{namespace}*snapshot:*").startswith("*0")
        with pytest.raises(Unavailable, match="begin another"):
            [history async for history in view.histories()]


async def test_long_journals_come_in_parts(store: RedisStore) -> None:
    """Three of 3 MiB: each of them whole, none of the scripts answering with all of them."""
    big = b'"' + b"x" * (1 << 20 - 1) + b'"'
    for version in range(6):
        puts = [put(name, expect=version) for name in "abc"]
        await store.commit(ANA, change(*puts, *(event(name, body=big) for name in "abc")))
    async with store.snapshot() as view:
        found = [history async for history in view.histories()]
        rest = [history async for history in view.histories(after=found[0].key)]
    assert [(history.key.id, len(history.events)) for history in found] == [("a", 6), ("b", 6), ("c", 6)]
    assert rest == found[1:]


async def test_a_snapshot_goes_on_behind_any_key(store: RedisStore) -> None:
    """Kinds first, then tenants, users and ids, as in every store."""
    keys = [
        key(id_, tenant=tenant, user=user, kind=kind)
        for tenant in ("", "acme", "b{r}")
        for user in ("", "ana")
        for kind in ("memo", "run", "run2")
        for id_ in ("a", "a/1")
    ]
    for each in keys:
        await store.commit(SYSTEM, change(put(each)))
    ordered = sorted(keys, key=lambda each: (each.kind, each.tenant, each.user, each.id))
    async with store.snapshot() as view:
        assert [history.key async for history in view.histories()] == ordered
        for number, each in enumerate(ordered):
            behind = [history.key async for history in view.histories(after=each)]
            assert behind == ordered[number + 1 :]
