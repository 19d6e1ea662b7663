"""Contract: reading by key and by query, in pages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from holdfast.errors import InvalidInput
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Key, Page, Query, Record, Scope
from holdfast.tasks import Supervisor
from holdfast.testing.conformance.samples import ANA, BOB, SYSTEM, Contract, change, delete, ids, key, put, read_one


async def pages(store: Store, scope: Scope, query: Query, *, limit: int) -> list[Record]:
    """All pages of a query, one behind the other."""
    found: list[Record] = []
    page: Page | None = None
    while page is None or page.next is not None:
        page = await store.scan(scope, query, after=page.next if page else None, limit=limit)
        assert len(page.records) <= limit
        assert page.next is None or page.records, "a page that goes on holds something"
        found += page.records
    return found


async def found(store: Store, query: Query, scope: Scope = ANA) -> Sequence[str]:
    return ids((await store.scan(scope, query)).records)


class ReadingContract(Contract):
    async def test_read_answers_in_the_order_asked(self, store: Store) -> None:
        await store.commit(ANA, change(put("a", body=b"1"), put("b", body=b"2")))
        records = await store.read(ANA, [key("b"), key("none"), key("a"), key("b")])
        assert [record and record.body for record in records] == [b"2", None, b"1", b"2"]
        assert await store.read(ANA, []) == []

    async def test_read_many(self, store: Store) -> None:
        for start in range(0, 1500, 500):
            await store.commit(ANA, change(*(put(f"a{number:04}") for number in range(start, start + 500))))
        records = await store.read(ANA, [key(f"a{number:04}") for number in range(1500)])
        assert ids([record for record in records if record]) == [f"a{number:04}" for number in range(1500)]

    async def test_readers_at_once_are_each_told_their_own(self, store: Store) -> None:
        """However a store puts together what several ask for: nobody gets another's answer, nor sees another's."""
        users = [f"user{number}" for number in range(150)]
        for user in users:
            mine = [put(key(f"{user}/{number}", user=user), body=b'"%s"' % user.encode()) for number in range(3)]
            await store.commit(Scope.of_user("acme", user), change(*mine))

        async def ask(number: int) -> None:
            user, other = users[number], users[number - 1]
            scope = Scope.of_user("acme", user)
            asked = [key(f"{other}/0", user=other), key(f"{user}/1", user=user), key("none", user=user)]
            assert [record and record.body for record in await store.read(scope, asked)] == [
                None,
                b'"%s"' % user.encode(),
                None,
            ]
            assert await store.read(scope, asked[:1]) == [None]
            page = await store.scan(scope, Query(kind="run", prefix=f"{user}/"), limit=2)
            assert ids(page.records) == [f"{user}/0", f"{user}/1"]
            assert await found(store, Query(kind="run", prefix=f"{other}/"), scope) == []
            assert len((await store.scan(SYSTEM, Query(kind="run", prefix=f"{user}/"))).records) == 3
            with pytest.raises(InvalidInput):
                await store.scan(scope, Query(kind="run"), limit=0)

        await asyncio.gather(*(ask(number) for number in range(len(users))))

    async def test_reader_that_goes_away_takes_nobody_along(self, store: Store) -> None:
        await store.commit(ANA, change(put("a", body=b"1")))
        readers = Supervisor("conformance", on_failure=lambda name, error: None)
        for _ in range(20):
            tasks = [readers.start(read_one(store, "a", ANA), name="reader") for _ in range(10)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            answers = await asyncio.gather(*tasks[1::2])
            assert [record and record.body for record in answers] == [b"1"] * 5
            assert await readers.stop() == []

    async def test_scan_by_id_takes_one_kind_in_order(self, store: Store) -> None:
        await store.commit(ANA, change(put("b"), put("a"), put("B"), put("ä"), put("a/1"), put(key("a", kind="memo"))))
        assert await found(store, Query(kind="run")) == ["B", "a", "a/1", "b", "ä"]
        assert await found(store, Query(kind="nothing")) == []

    async def test_scan_by_prefix(self, store: Store) -> None:
        await store.commit(ANA, change(*(put(id_) for id_ in ("v1", "v1/a", "v1/b", "v10", "v1/\U0010ffff", "v2"))))
        assert await found(store, Query(kind="run", prefix="v1/")) == ["v1/a", "v1/b", "v1/\U0010ffff"]
        assert await found(store, Query(kind="run", prefix="\U0010ffff")) == []

    async def test_scan_by_fields(self, store: Store) -> None:
        await store.commit(
            ANA,
            change(
                put("a", status="open", queue="q1", owner="me", due=10, labels={"x": "1", "y": "2"}),
                put("b", status="open", queue="q2", due=20, labels={"x": "1"}),
                put("c", status="done", queue="q1", owner="you"),
                put("d"),
            ),
        )
        assert await found(store, Query(kind="run", statuses=("open",))) == ["a", "b"]
        assert await found(store, Query(kind="run", statuses=("done", "open"))) == ["a", "b", "c"]
        assert await found(store, Query(kind="run", statuses=("",))) == ["d"]
        assert await found(store, Query(kind="run", queues=("q1",))) == ["a", "c"]
        assert await found(store, Query(kind="run", owner="me")) == ["a"]
        assert await found(store, Query(kind="run", owner="")) == ["b", "d"]
        assert await found(store, Query(kind="run", due_until=10)) == ["a"]
        assert await found(store, Query(kind="run", due_until=9.999999)) == []
        assert await found(store, Query(kind="run", labels={"x": "1"})) == ["a", "b"]
        assert await found(store, Query(kind="run", labels={"x": "1", "y": "2"})) == ["a"]
        assert await found(store, Query(kind="run", labels={"x": "1"}, statuses=("open",), queues=("q2",))) == ["b"]

    async def test_labels_with_odd_names_are_found(self, store: Store) -> None:
        for number, name in enumerate(("a.b", 'q"uote', "$", "größe", "a b", "[0]", "back\\slash", "")):
            await store.commit(ANA, change(put(f"a{number}", labels={name: "1"})))
            assert await found(store, Query(kind="run", labels={name: "1"})) == [f"a{number}"]

    async def test_scan_by_due_holds_what_has_one(self, store: Store) -> None:
        await store.commit(
            ANA, change(put("late", due=30), put("never"), put("early", due=1.5), put("b", due=20), put("a", due=20))
        )
        assert await found(store, Query(kind="run", by_due=True)) == ["early", "a", "b", "late"]
        assert await found(store, Query(kind="run", by_due=True, due_until=20)) == ["early", "a", "b"]

    async def test_pages_follow_without_gap_or_repeat(self, store: Store) -> None:
        for number in range(25):
            await store.commit(ANA, change(put(f"a{number:02}", due=number // 3)))
            await store.commit(BOB, change(put(key(f"a{number:02}", user="bob"), due=number // 3)))
        for query in (Query(kind="run"), Query(kind="run", by_due=True), Query(kind="run", prefix="a1")):
            everything = (await store.scan(SYSTEM, query, limit=1000)).records
            for limit in (1, 7, 25, len(everything)):
                assert await pages(store, SYSTEM, query, limit=limit) == list(everything)

    async def test_deleted_records_are_not_found(self, store: Store) -> None:
        await store.commit(ANA, change(put("a", status="open", due=1), put("b", status="open", due=1)))
        await store.commit(ANA, change(delete("a")))
        for query in (Query(kind="run"), Query(kind="run", statuses=("open",)), Query(kind="run", by_due=True)):
            assert await found(store, query) == ["b"]

    async def test_now_is_the_time_of_commits(self, store: Store) -> None:
        before = store.now_s()
        answer = await store.commit(ANA, change(put("a")))
        assert before - 0.001 <= answer.at <= store.now_s() + 0.001

    async def test_reading_keys_that_cannot_be_finds_nothing(self, store: Store) -> None:
        assert await store.read(ANA, [Key("acme", "ana", "run", ""), Key("", "", "run", "a")]) == [None, None]
