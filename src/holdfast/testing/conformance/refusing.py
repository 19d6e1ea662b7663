"""Contract: what may not be asked is refused to its sender alone, and one user never meets another's."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.errors import InvalidInput, Unavailable
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Claim, Key, Query, Require, Scope
from holdfast.testing.conformance.samples import (
    ANA,
    BOB,
    STRANGER,
    SYSTEM,
    TENANT,
    Contract,
    change,
    delete,
    event,
    key,
    put,
    read_one,
    removal,
)

POISON = {
    "not JSON": put("p", body=b"{"),
    "empty": put("p", body=b""),
    "NaN": put("p", body=b'{"a": NaN}'),
    "raw NUL": put("p", body=b'{"a": "\x00"}'),
    "escaped NUL": put("p", body=b'{"a": "\\u0000"}'),
    "not UTF-8": put("p", body=b'{"a": "\xff"}'),
    "two values": put("p", body=b"1 2"),
    "10 MB": put("p", body=b'"' + b"x" * 10_000_000 + b'"'),
    "endless due": put("p", due=float("inf")),
    "no due": put("p", due=float("nan")),
    "far due": put("p", due=1e300),
    "NUL in id": put("p\0"),
    "empty id": put(""),
    "lone surrogate": put("p\ud800"),
    "NUL in label": put("p", labels={"a": "\0"}),
    "lone surrogate in status": put("p", status="\udfff"),
    "long id": put("p" * 2000),
    "long owner": put("p", owner="p" * 2000),
    "empty kind": put(key("p", kind="")),
}


class RefusingContract(Contract):
    @pytest.mark.parametrize("what", POISON)
    async def test_poison_hurts_its_sender_alone(self, store: Store, what: str) -> None:
        """One change of 64 cannot be stored; the other 63 are."""
        changes = [change(put(f"a{number}"), event(f"a{number}")) for number in range(64)]
        changes[40] = change(POISON[what])
        results = await asyncio.gather(*(store.commit(ANA, each) for each in changes), return_exceptions=True)
        failed = {number: result for number, result in enumerate(results) if isinstance(result, BaseException)}
        assert list(failed) == [40]
        assert isinstance(failed[40], InvalidInput)

    @pytest.mark.parametrize(
        "parts",
        [
            (put("a"), put("a", expect=1)),
            (put("a"), delete("a")),
            (put(key("v1/a", kind="memo")), removal("v1/")),
            (event(key("v1/a", kind="memo")), removal("v1/")),
            (put("a"), put(key("a", tenant="other"))),
            (put("a"), Require(key=key("a", tenant="other"))),
            (removal(""),),
            (put("a"), event("a", name="")),
            (put("a"), event("a", body=b"{")),
            (put("a"), event("a", delta=b"{")),
            tuple(put(f"a{number}") for number in range(3000)),
        ],
        ids=lambda parts: f"{type(parts[0]).__name__}-{len(parts)}",
    )
    async def test_change_that_makes_no_sense_is_refused(self, store: Store, parts: Any) -> None:
        with pytest.raises(InvalidInput):
            await store.commit(SYSTEM, change(*parts))
        assert await read_one(store, "a") is None

    async def test_refusal_says_what_was_seen(self, store: Store) -> None:
        with pytest.raises(InvalidInput, match=r"run p: expected at most 1048576 bytes, saw 10000002"):
            await store.commit(ANA, change(POISON["10 MB"]))

    async def test_limits_are_bounded(self, store: Store) -> None:
        for limit in (0, -1, 1_000_000):
            with pytest.raises(InvalidInput):
                await store.scan(ANA, Query(kind="run"), limit=limit)
            with pytest.raises(InvalidInput):
                await store.events(ANA, record=key("a"), limit=limit)
            with pytest.raises(InvalidInput):
                await store.claim(SYSTEM, Claim(kind="run", owner="me", from_owners=("",), limit=limit))

    async def test_claim_and_events_must_say_what_of(self, store: Store) -> None:
        with pytest.raises(InvalidInput):
            await store.claim(SYSTEM, Claim(kind="run", owner="", from_owners=("",)))
        with pytest.raises(InvalidInput):
            await store.claim(SYSTEM, Claim(kind="run", owner="me", from_owners=()))
        with pytest.raises(InvalidInput):
            await store.events(ANA)
        with pytest.raises(InvalidInput):
            await store.events(ANA, record=key("a"), stream=("acme", "ana"))

    async def test_page_mark_of_another_make_is_refused(self, store: Store) -> None:
        for after in ("", "x", "[1]", "{}", "\ud800"):
            with pytest.raises(InvalidInput):
                await store.scan(ANA, Query(kind="run"), after=after)

    @pytest.mark.parametrize("scope", [BOB, STRANGER, Scope.of_tenant("other")], ids=str)
    async def test_another_users_records_do_not_exist(self, store: Store, scope: Scope) -> None:
        await store.commit(ANA, change(put("a", owner="", labels={"x": "y"}), event("a")))
        assert await store.read(scope, [key("a")]) == [None]
        assert (await store.scan(scope, Query(kind="run"))).records == ()
        assert (await store.scan(scope, Query(kind="run", labels={"x": "y"}))).records == ()
        assert await store.claim(scope, Claim(kind="run", owner="me", from_owners=("",))) == []
        assert await store.events(scope, record=key("a")) == []
        assert await store.events(scope, stream=("acme", "ana")) == []

    @pytest.mark.parametrize(
        "parts",
        [
            (put("a"),),
            (put("a", expect=None),),
            (delete("a"),),
            (put(key("b", user="bob")), Require(key=key("a"))),
            (put(key("b", user="bob")), event("a")),
            (removal("a", kind="run"),),
        ],
        ids=["put", "overwrite", "delete", "require", "event", "removal"],
    )
    async def test_another_users_records_cannot_be_touched(self, store: Store, parts: Any) -> None:
        await store.commit(ANA, change(put("a")))
        with pytest.raises(InvalidInput):
            await store.commit(BOB, change(*parts))
        found = await read_one(store, "a")
        assert found is not None
        assert found.version == 1

    async def test_refusal_is_the_same_whether_the_other_has_it_or_not(self, store: Store) -> None:
        """Else asking would tell."""
        await store.commit(ANA, change(put("a")))
        said = []
        for id_ in ("a", "b"):
            with pytest.raises(InvalidInput) as caught:
                await store.commit(BOB, change(put(id_), change_id="same"))
            said.append(str(caught.value).replace(f"run {id_}", "run x"))
        assert said[0] == said[1]

    async def test_what_is_shared_is_the_tenants(self, store: Store) -> None:
        lock = Key("acme", "", "lock", "repo")
        await store.commit(ANA, change(put(lock)))
        for scope in (ANA, BOB, TENANT, SYSTEM):
            assert await read_one(store, lock, scope) is not None
        assert await read_one(store, lock, STRANGER) is None
        await store.commit(BOB, change(put(lock, expect=1)))

    async def test_tenant_and_system_see_what_is_theirs(self, store: Store) -> None:
        await store.commit(ANA, change(put("a")))
        await store.commit(BOB, change(put(key("a", user="bob"))))
        await store.commit(STRANGER, change(put(key("a", tenant="other"))))
        counts = [len((await store.scan(scope, Query(kind="run"))).records) for scope in (ANA, BOB, TENANT, SYSTEM)]
        assert counts == [1, 1, 2, 3]

    async def test_closed_store_is_unavailable(self, store: Store) -> None:
        await store.commit(ANA, change(put("a")))
        assert store.ailment() is None
        await store.close()
        await store.close()
        assert store.ailment() is not None
        with pytest.raises(Unavailable, match="closed"):
            await store.commit(ANA, change(put("b")))
        with pytest.raises(Unavailable, match="closed"):
            await store.read(ANA, [key("a")])
        with pytest.raises(Unavailable, match="closed"):
            await store.scan(ANA, Query(kind="run"))
        with pytest.raises(Unavailable, match="closed"):
            await store.events(ANA, record=key("a"))
        with pytest.raises(Unavailable, match="closed"):
            await store.claim(SYSTEM, Claim(kind="run", owner="me", from_owners=("",)))
        with pytest.raises(Unavailable, match="closed"):
            await store.wait(0)

    async def test_close_commits_what_is_queued(self, store: Store) -> None:
        commits = [store.commit(ANA, change(put(f"a{number}"))) for number in range(50)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(commit) for commit in commits]
            await asyncio.sleep(0)
            await store.close()
        assert [task.result().versions for task in tasks] == [(1,)] * 50
