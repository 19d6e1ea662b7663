"""The file itself: new, old, newer, another's, read-only, damaged, locked."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from holdfast.errors import Corrupt, InvalidInput, Unavailable
from holdfast.store.contract.records import Claim, Put, Query
from holdfast.store.open import open_store
from holdfast.store.rows import journal
from holdfast.store.sqlite import schema
from holdfast.store.sqlite.store import SqliteStore
from holdfast.testing.conformance.samples import ANA, SYSTEM, change, event, ids, key, must_read, put, write_history

BODIES = [{"n": number, "secret": "precious"} for number in range(5)]


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """A closed store with a history of record `a`, and a record `b`, all in one file."""
    path = tmp_path / "store.db"
    store = SqliteStore(path)
    await write_history(store, BODIES)
    await store.commit(ANA, change(put("b", status="open"), event("b")))
    await store.close()
    return path


@contextmanager
def tampering(path: Path) -> Iterator[sqlite3.Connection]:
    """The file, written past the store."""
    with closing(sqlite3.connect(path)) as connection:
        yield connection
        connection.commit()


def execute(path: Path, sql: str, *parameters: object) -> None:
    with tampering(path) as connection:
        connection.execute(sql, parameters)


def test_new_file_has_the_schema_and_says_whose_it_is(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    asyncio.run(SqliteStore(path).close())
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (schema.APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (schema.migrations()[-1][0],)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_migrations_are_numbered_without_gaps() -> None:
    assert [number for number, _, _ in schema.migrations()] == list(range(1, len(schema.migrations()) + 1))


def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    async def open_one(path: Path, name: str) -> None:
        store = await asyncio.to_thread(SqliteStore, path)
        await store.commit(ANA, change(put(name)))
        await store.close()

    async def open_many(path: Path) -> None:
        await asyncio.gather(*(open_one(path, f"a{number}") for number in range(8)))

    for turn in range(10):
        asyncio.run(open_many(tmp_path / f"{turn}.db"))


async def test_opening_waits_for_nobody_who_writes(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store = SqliteStore(file, busy_timeout_s=0)
        assert (await must_read(store, "a")).version == len(BODIES)
        await store.close()


async def test_newer_schema_is_refused_and_left_alone(file: Path) -> None:
    execute(file, "PRAGMA user_version = 7")
    known = schema.migrations()[-1][0]
    for read_only in (False, True):
        with pytest.raises(
            Unavailable, match=rf"written by a newer holdfast: schema 7, this one knows {known}; upgrade"
        ):
            SqliteStore(file, read_only=read_only)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (7,)


async def test_older_schema_cannot_be_read_before_it_is_brought_up_to_date(file: Path) -> None:
    execute(file, "PRAGMA user_version = 0")
    with pytest.raises(Unavailable, match="open it once for writing"):
        SqliteStore(file, read_only=True)


def test_a_folder_is_told_from_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=f"expected a file, saw a folder; name one in it, such as {tmp_path}/"):
        SqliteStore(tmp_path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database at all, but long enough to look at " * 30)
    execute(tmp_path / "other", "CREATE TABLE t (x)")
    with pytest.raises(Corrupt, match="not an SQLite database"):
        SqliteStore(tmp_path / "text")
    with pytest.raises(InvalidInput, match="another program"):
        SqliteStore(tmp_path / "other")
    with pytest.raises(InvalidInput, match="expected a folder"):
        SqliteStore(tmp_path / "nowhere" / "store.db")
    with pytest.raises(InvalidInput, match="saw no file"):
        SqliteStore(tmp_path / "nothing", read_only=True)
    with pytest.raises((Unavailable, InvalidInput)):
        SqliteStore(tmp_path)
    assert (tmp_path / "text").read_text().startswith("no database")


async def test_read_only_store_reads_and_writes_nothing(file: Path) -> None:
    store = open_store(f"sqlite:///{file}?mode=ro")
    try:
        assert (await must_read(store, "a")).version == len(BODIES)
        assert ids((await store.scan(ANA, Query(kind="run"))).records) == ["a", "b"]
        assert len(await store.events(ANA, record=key("a"))) == len(BODIES)
        assert (await store.verify()).is_clean
        assert "mode=ro" in (store.ailment() or "")
        for writing in (
            store.commit(ANA, change(put("c"))),
            store.claim(SYSTEM, Claim(kind="run", owner="me", from_owners=("",))),
            store.trim(before_s=0),
            store.repair(),
            store.migrate(),
            store.restore(file),
        ):
            with pytest.raises(Unavailable, match="mode=ro"):
                await writing
        writer = SqliteStore(file)
        since = await store.wait(0)
        await writer.commit(ANA, change(put("c")))
        async with asyncio.timeout(10):
            await store.wait(since)
        assert (await must_read(store, "c")).version == 1
        await writer.close()
    finally:
        await store.close()


async def test_flipped_byte_is_found_by_reading_verifying_and_repaired(file: Path) -> None:
    data = bytearray(file.read_bytes())
    place = data.rfind(b'{"n":4,"secret":"precious"}')
    assert place > 0
    data[place + 20] ^= 0x01
    file.write_bytes(data)
    store = SqliteStore(file)
    try:
        with pytest.raises(Corrupt, match=r"run a: expected digest") as caught:
            await store.read(ANA, [key("a")])
        assert caught.value.key == key("a")
        with pytest.raises(Corrupt, match="run a"):
            await store.scan(ANA, Query(kind="run"))
        assert "run a" in {problem.where for problem in (await store.verify()).problems}
        taken = await store.claim(SYSTEM, Claim(kind="run", owner="me", from_owners=("",)))
        assert ids(taken) == ["b"], "one damaged record does not keep the others from running"
        (words,) = await store.repair()
        assert "run a: rebuilt from its journal" in words
        assert json.loads((await must_read(store, "a")).body) == BODIES[-1]
        assert (await store.verify()).is_clean
    finally:
        await store.close()


async def test_repair_is_proven_where_the_bytes_are_the_same(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    body = b'{"n":1,"secret":"precious"}'
    delta = journal.delta(None, json.loads(body), 1)
    await store.commit(ANA, change(put("a", body=body, owner="me", raise_epoch=True), event("a", delta=delta)))
    before = await must_read(store, "a")
    execute(tmp_path / "store.db", "UPDATE records SET body = '{}'")
    assert await store.repair() == ["run a: rebuilt from its journal, proven by its digest"]
    assert await must_read(store, "a") == before
    await store.close()


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        ("UPDATE records SET status = 'odd' WHERE id = 'a'", "run a"),
        ("UPDATE records SET epoch = epoch + 1 WHERE id = 'a'", "run a"),
        ("UPDATE records SET owner = 'thief' WHERE id = 'a'", "run a"),
        ("UPDATE records SET labels = json_object('x', 'y') WHERE id = 'a'", "run a"),
        ("UPDATE records SET body = CAST(x'7bff7d' AS TEXT) WHERE id = 'a'", "run a"),
        ("UPDATE records SET version = 3 WHERE id = 'a'", "run a"),
        ("UPDATE records SET due_us = 'soon' WHERE id = 'a'", "run a"),
        ("UPDATE records SET version = 'many', epoch = 'more' WHERE id = 'a'", "run a"),
        ("UPDATE events SET body = '[]' WHERE id = 'a' AND version = 3", "run a: event transition at 1:3"),
        ("UPDATE events SET delta = '' WHERE id = 'a' AND version = 3", "run a: event transition at 1:3"),
        ("DELETE FROM events WHERE id = 'a' AND version = 3", "run a: event transition at 1:4"),
        ("DELETE FROM events WHERE id = 'a' AND version < 3", "run a: event transition at 1:3"),
        ("DELETE FROM events WHERE id = 'a' AND version > 3", "run a"),
        ("DELETE FROM events WHERE id = 'a'", "run a"),
        ("UPDATE events SET id = 'b' WHERE id = 'a' AND version = 5", "run a"),
        ("UPDATE streams SET seq = 2", "stream of acme/ana"),
    ],
)
async def test_tampering_is_found_where_it_was_done(file: Path, damage: str, where: str) -> None:
    execute(file, damage)
    store = SqliteStore(file)
    try:
        found = await store.verify()
        assert where in {problem.where for problem in found.problems}, found.problems
        assert all(await store.repair())
        assert (await store.verify()).is_clean
        await store.commit(ANA, change(put("a", expect=None), event("a"), put("b", expect=None), event("b")))
        assert (await store.verify()).is_clean, "and goes on so"
    finally:
        await store.close()


async def test_record_that_went_back_in_time_is_found(file: Path) -> None:
    """Each row right in itself: only the journal's end gives the old record away."""
    with tampering(file) as connection:
        old = connection.execute("SELECT * FROM records WHERE id = 'b'").fetchone()
    store = SqliteStore(file)
    await store.commit(ANA, change(put("b", expect=1), event("b")))
    await store.close()
    with tampering(file) as connection:
        connection.execute("DELETE FROM records WHERE id = 'b'")
        connection.execute(f"INSERT INTO records VALUES ({', '.join('?' * len(old))})", old)
    store = SqliteStore(file)
    problems = (await store.verify()).problems
    assert "run b" in {problem.where for problem in problems}
    await store.close()


async def test_damaged_structure_is_told_and_not_raised(file: Path) -> None:
    data = bytearray(file.read_bytes())
    page = data.rfind(b'{"n":4,"secret":"precious"}') // 4096
    data[page * 4096 : page * 4096 + 8] = b"\xff" * 8
    file.write_bytes(data)
    store = SqliteStore(file)
    assert not (await store.verify()).is_clean
    with pytest.raises((Corrupt, Unavailable)):
        await store.scan(SYSTEM, Query(kind="run"))
    await store.close()


async def test_file_locked_by_another_program_is_unavailable(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        store = SqliteStore(file, busy_timeout_s=0.05)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked by another program"):
            await store.commit(ANA, change(put("c")))
        assert "locked" in (store.ailment() or "")
        other.execute("ROLLBACK")
        await store.commit(ANA, change(put("c")))
        assert store.ailment() is None
        await store.close()


async def test_backup_over_the_store_itself_is_refused(file: Path) -> None:
    store = SqliteStore(file)
    with pytest.raises(InvalidInput, match="another file than the store's own"):
        await store.backup(file)
    await store.close()


async def test_payloads_of_the_largest_size_come_back(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    body = b'"' + b"x" * (1024 * 1024 - 2) + b'"'
    await store.commit(ANA, change(*(Put(key=key(f"a{number}"), body=body, expect=0) for number in range(20))))
    page = await store.scan(ANA, Query(kind="run"), limit=20)
    assert [len(record.body) for record in page.records] == [1024 * 1024] * 20
    await store.close()
