"""What PostgreSQL refuses is told in the store's words, to whoever it concerns, and nothing is lost or half done."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Iterator

import pytest

from holdfast.errors import HoldfastError, InvalidInput, Unavailable
from holdfast.store.postgres import PostgresStore
from holdfast.store.postgres.schema import migrations
from holdfast.testing.conformance.samples import ANA, SYSTEM, change, event, key, must_read, put, read_one
from holdfast.testing.servers import PostgresServer, free_port
from tests.store.returns import once_it_is_asked_again


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that a test may maltreat."""
    with PostgresServer() as server:
        yield server


async def open_store(url: str) -> PostgresStore:
    store = PostgresStore(url)
    await store.commit(ANA, change(put("a"), event("a")))
    return store


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("postgresql://postgres@127.0.0.1/x?pool_size=1", "pool_size as a number from 2"),
        ("postgresql://postgres@127.0.0.1/x?pool_size=many", "pool_size"),
        ("postgresql://", "postgresql://user@host/database"),
        ("mysql://host/x", "postgresql://user@host/database"),
    ],
)
def test_a_bad_url_is_refused_when_the_store_is_made(url: str, match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        PostgresStore(url)


def test_no_text_shows_a_password() -> None:
    store = PostgresStore("postgresql://ana:hunter2@db.example/x?password=hunter2&pool_size=3")
    for text in (repr(store), store.capabilities.location, str(store.ailment())):
        assert "hunter2" not in text
    assert store.capabilities.location == "postgresql://ana:***@db.example/x?password=***&pool_size=3"


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    store = PostgresStore(f"postgresql://ana:hunter2@127.0.0.1:{free_port()}/x")
    with pytest.raises(Unavailable, match="server that answers") as caught:
        await store.commit(ANA, change(put("a")))
    assert "hunter2" not in str(caught.value)
    assert store.ailment() is not None
    with pytest.raises(Unavailable):
        await must_read(store, "a")
    await store.close()


async def test_a_database_that_is_not_there_is_named(postgres_server: PostgresServer) -> None:
    store = PostgresStore(postgres_server.url("nowhere"))
    with pytest.raises(Unavailable, match="no such database; create it"):
        await must_read(store, "a")
    await store.close()


async def test_wrong_credentials_are_said_to_be_wrong(own_server: PostgresServer) -> None:
    own_server.execute("SET password_encryption = 'scram-sha-256'; CREATE ROLE ana LOGIN PASSWORD 'right'")
    rules = own_server.folder / "data" / "pg_hba.conf"
    rules.write_text("host all ana 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
    own_server.execute("SELECT pg_reload_conf()")
    for password in ("wrong", ""):
        store = PostgresStore(f"postgresql://ana:{password}@127.0.0.1:{own_server.port}/postgres")
        with pytest.raises(Unavailable, match="check user and password"):
            await must_read(store, "a")
        await store.close()


async def test_a_user_who_may_not_make_the_schema_is_told_what_to_do(
    postgres_server: PostgresServer, empty_database: str
) -> None:
    name = f"plain_{empty_database.rpartition('_')[2]}"
    postgres_server.execute(f"CREATE ROLE {name} LOGIN")
    try:
        store = PostgresStore(postgres_server.url(empty_database.rpartition("/")[2], user=name))
        with pytest.raises(Unavailable, match="as the database's owner with CREATEROLE, then grant holdfast_scoped"):
            await must_read(store, "a")
        await store.close()
    finally:
        postgres_server.execute(f"DROP ROLE {name}")


async def test_a_user_who_owns_nothing_works_once_he_is_granted_the_roles(
    postgres_server: PostgresServer, database: str
) -> None:
    database_name = database.rpartition("/")[2]
    user = f"worker_{database_name}"
    postgres_server.execute(f"CREATE ROLE {user} LOGIN; GRANT holdfast_scoped, holdfast_system TO {user}")
    try:
        store = await open_store(postgres_server.url(database_name, user=user))
        await store.commit(ANA, change(put("a", expect=1), event("a")))
        assert (await must_read(store, "a", ANA)).version == 2
        assert (await store.verify()).is_clean
        await store.close()
    finally:
        postgres_server.execute(f"DROP ROLE {user}")


async def test_a_read_only_server_still_reads_and_says_why_it_does_not_write(
    postgres_server: PostgresServer, database: str
) -> None:
    store = await open_store(database)
    name = database.rpartition("/")[2]
    postgres_server.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    again = PostgresStore(database)
    with pytest.raises(Unavailable, match=r"read-only.*primary"):
        await again.commit(ANA, change(put("b")))
    assert "read-only" in (again.ailment() or "")
    assert (await must_read(again, "a")).version == 1
    postgres_server.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    await again._connections.close()
    await again.commit(ANA, change(put("b")))
    assert again.ailment() is None
    for each in (store, again):
        await each.close()


async def test_a_newer_schema_that_old_code_cannot_use_is_refused(
    postgres_server: PostgresServer, database: str
) -> None:
    newest = migrations()[-1][0]
    name = database.rpartition("/")[2]
    postgres_server.execute(
        f"UPDATE holdfast.meta SET value = {newest + 2} WHERE name = 'schema';"
        f"UPDATE holdfast.meta SET value = {newest + 1} WHERE name = 'least'",
        database=name,
    )
    store = PostgresStore(database)
    with pytest.raises(Unavailable, match=f"newer holdfast: schema {newest + 2}.*upgrade") as caught:
        await must_read(store, "a")
    assert (caught.value.expected, caught.value.seen) == (newest, newest + 2)
    await store.close()


async def test_a_newer_schema_that_only_adds_is_worked_on(postgres_server: PostgresServer, database: str) -> None:
    """While machines are upgraded one by one, the last release's code meets the new schema."""
    newest = migrations()[-1][0]
    postgres_server.execute(
        f"""ALTER TABLE holdfast.records ADD COLUMN priority integer NOT NULL DEFAULT 0;
        CREATE INDEX records_priority ON holdfast.records (kind, priority) WHERE priority > 0;
        ALTER TABLE holdfast.events ADD COLUMN trace text;
        CREATE FUNCTION holdfast.write_2(given jsonb) RETURNS void LANGUAGE sql AS 'SELECT';
        UPDATE holdfast.meta SET value = {newest + 1} WHERE name = 'schema'""",
        database=database.rpartition("/")[2],
    )
    store = await open_store(database)
    await store.commit(ANA, change(put("a", expect=1, due=5, labels={"x": "y"}), event("a")))
    assert await store.migrate() == []
    assert (await must_read(store, "a")).version == 2
    assert (await store.verify()).is_clean
    await store.close()


async def test_a_server_that_does_not_answer_in_time_is_unavailable_and_nothing_is_lost(
    own_server: PostgresServer,
) -> None:
    """It stands still in the middle of work, for longer than we wait, and goes on."""
    store = await open_store(own_server.create_database("slow") + "?statement_timeout_s=1")
    own_server.signal(signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable, match=r"in time|answers"):
            await must_read(store, "a")
        waiting = asyncio.ensure_future(store.commit(ANA, change(put("b"))))
        done, _ = await asyncio.wait([waiting], timeout=60)
        assert done, "a commit waits for ever"
        assert type(waiting.exception()).__name__ in ("Unavailable", "CommitUnknown")
    finally:
        own_server.signal(signal.SIGCONT)
    await once_it_is_asked_again(lambda: store.commit(ANA, change(put("a", expect=1))))
    assert store.ailment() is None
    assert (await store.verify()).is_clean
    await store.close()


async def test_a_full_disk_is_unavailable_and_what_was_acknowledged_is_there(own_server: PostgresServer) -> None:
    """No file of the server may grow beyond 24 MiB, as on a disk that is full; later there is room again."""
    url = own_server.create_database("full")
    own_server.stop()
    own_server.start(file_bytes_max=24 * 1024 * 1024)
    store = await open_store(url)
    written, refusal = await _fill(store)
    assert written > 3
    assert isinstance(refusal, Unavailable)
    assert store.ailment() == refusal.message
    assert (await must_read(store, f"big-{written - 1}")).body == _incompressible(written - 1)
    own_server.restart(mode="fast")
    assert await read_one(store, f"big-{written}") is None
    await store.commit(ANA, change(put("small")))
    assert store.ailment() is None
    assert (await store.verify()).is_clean
    await store.close()


async def _fill(store: PostgresStore) -> tuple[int, HoldfastError]:
    """Commit big bodies until one is refused; how many went in, and what was said then."""
    for number in range(200):
        try:
            await store.commit(ANA, change(put(f"big-{number}", body=_incompressible(number))))
        except HoldfastError as error:
            return number, error
    pytest.fail("200 MB fit into 24")


async def test_names_too_long_for_an_index_are_refused_to_their_sender(database: str) -> None:
    """The gate lets 1,000 signs of each name in; a row of an index takes 2,704 bytes, less after compression."""
    store = await open_store(database)
    long = key(_incompressible(1)[1:1000].decode(), kind=_incompressible(2)[1:1000].decode())
    longer = long._replace(user=_incompressible(3)[1:1000].decode(), tenant=_incompressible(4)[1:1000].decode())
    changes = [change(put(f"n{number}")) for number in range(20)]
    changes[7] = change(put(longer))
    results = await asyncio.gather(*(store.commit(SYSTEM, each) for each in changes), return_exceptions=True)
    failed = {number: type(result) for number, result in enumerate(results) if isinstance(result, BaseException)}
    assert failed == {7: InvalidInput}
    await store.close()


def _incompressible(seed: int) -> bytes:
    """A body of 1 MB that no compression makes small, the same for the same seed."""
    return b'"' + random.Random(seed).randbytes(500_000).hex().encode() + b'"'
