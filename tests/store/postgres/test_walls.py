"""The second wall: the database itself shows each transaction only the scopes that it named."""

from __future__ import annotations

import asyncpg
import pytest

from holdfast.errors import Rejected
from holdfast.store.contract.records import Claim, Key, Query, Scope
from holdfast.store.postgres import PostgresStore
from holdfast.store.postgres.address import parse
from holdfast.store.postgres.connections import Connections
from holdfast.testing.conformance.samples import ANA, BOB, STRANGER, SYSTEM, TENANT, change, event, key, must_read, put
from holdfast.testing.servers import PostgresServer

TABLES = ("records", "events", "streams")
EVERYBODY = "SELECT count(*) FROM holdfast.records"


@pytest.fixture
async def filled(database: str) -> str:
    """A store with a record and an event of each of two users, of a tenant's own, of another tenant and the system."""
    store = PostgresStore(database)
    for place in ("ana", "bob", ""):
        at = key(f"of-{place}", user=place, kind="note")
        await store.commit(TENANT, change(put(at, body=b'{"secret":1}'), event(at)))
    theirs = key("theirs", tenant="other", kind="note")
    await store.commit(STRANGER, change(put(theirs), event(theirs)))
    await store.commit(SYSTEM, change(put(Key("", "", "process", "p"))))
    await store.close()
    return database


async def seen(database: str, *scopes: Scope) -> list[str]:
    """The ids that a transaction with these scopes sees, whatever it asks for."""
    connections = Connections(parse(database), size=4)
    try:
        async with connections.writing(*scopes) as connection:
            return sorted(row[0] for row in await connection.fetch("SELECT id FROM holdfast.records"))
    finally:
        await connections.close()


@pytest.mark.parametrize(
    ("scopes", "ids"),
    [
        ([ANA], ["of-", "of-ana"]),
        ([ANA, BOB], ["of-", "of-ana", "of-bob"]),
        ([TENANT], ["of-", "of-ana", "of-bob"]),
        ([STRANGER], ["theirs"]),
        ([ANA, STRANGER], ["of-", "of-ana", "theirs"]),
        ([SYSTEM], ["of-", "of-ana", "of-bob", "p", "theirs"]),
        ([Scope.of_user("acme", "nobody")], ["of-"]),
        ([Scope.of_tenant("acm")], []),
        ([Scope.of_tenant("acme/ana")], []),
        ([Scope.of_user("acme/an", "a")], []),
        ([Scope.of_tenant('x"}, "4:acme')], []),
        ([Scope.of_tenant("'; SET ROLE postgres; --")], []),
    ],
    ids=lambda value: ",".join(map(str, value)),
)
async def test_a_transaction_sees_the_scopes_it_named(filled: str, scopes: list[Scope], ids: list[str]) -> None:
    assert await seen(filled, *scopes) == ids


async def test_a_role_without_scopes_sees_nothing_and_writes_nothing(filled: str) -> None:
    connection = await asyncpg.connect(filled)
    for leftover in ("", "RESET holdfast.scopes", "SET holdfast.scopes = ''"):
        await connection.execute(f"{leftover}; SET ROLE holdfast_scoped")
        for table in TABLES:
            assert await connection.fetchval(f"SELECT count(*) FROM holdfast.{table}") == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await connection.execute("INSERT INTO holdfast.streams VALUES ('acme', 'ana', 1)")
        await connection.execute("RESET ROLE")
    await connection.close()


async def test_the_owner_of_the_tables_is_behind_the_wall_too(filled: str, postgres_server: PostgresServer) -> None:
    """Forced: whoever owns the tables without being superuser sees nothing without a scope."""
    name = filled.rpartition("/")[2]
    owner = f"owner_{name}"
    owned = "; ".join(f"ALTER TABLE holdfast.{table} OWNER TO {owner}" for table in TABLES)
    postgres_server.execute(
        f"CREATE ROLE {owner} LOGIN; GRANT USAGE ON SCHEMA holdfast TO {owner}; {owned}", database=name
    )
    connection = await asyncpg.connect(postgres_server.url(name, user=owner))
    try:
        assert await connection.fetchval(EVERYBODY) == 0
    finally:
        await connection.close()
        postgres_server.execute(f"REASSIGN OWNED BY {owner} TO postgres; DROP OWNED BY {owner}", database=name)
        postgres_server.execute(f"DROP ROLE {owner}")


async def test_views_show_what_their_reader_may_see(filled: str) -> None:
    run = "01920000-0000-7000-8000-000000000001"
    store = PostgresStore(filled)
    await store.commit(ANA, change(put(run), event(run)))
    await store.close()
    connections = Connections(parse(filled), size=4)
    for scope, count in ((BOB, 0), (ANA, 1), (TENANT, 1), (STRANGER, 0)):
        async with connections.writing(scope) as connection:
            for view in ("workflow_states", "state_transitions"):
                sql = f"SELECT count(*) FROM holdfast.{view} WHERE workflow_id = $1"
                assert await connection.fetchval(sql, run) == count, (scope, view)
    await connections.close()


async def test_what_a_pooled_connection_was_left_with_means_nothing(filled: str) -> None:
    """Somebody has set everything for the session: role, scopes, isolation, a read-only default, a search path."""
    store = PostgresStore(filled + "?pool_size=2")
    connections = store._connections
    held = [await connections.acquire()]
    for connection in held:
        await connection.execute(
            """SET holdfast.scopes = '{"4:acme/ana": null, "4:acme/bob": null, "5:other": null}';
            SET ROLE holdfast_scoped; SET search_path = pg_temp"""
        )
        await connections.release(connection, is_done=True)
    page = await store.scan(BOB, Query(kind="note"))
    assert [record.key.id for record in page.records] == ["of-", "of-bob"]
    async with connections.writing(BOB) as connection:
        rows = await connection.fetch("SELECT id FROM holdfast.records")
        assert sorted(row[0] for row in rows) == ["of-", "of-bob"]
    await store.commit(BOB, change(put(key("b", user="bob")), event(key("b", user="bob"))))
    assert (await must_read(store, key("b", user="bob"), BOB)).version == 1
    assert await store.claim(SYSTEM, Claim(kind="note", owner="me", from_owners=("",))) != []
    await store.close()


async def test_a_row_of_another_tenant_cannot_be_inserted_whatever_the_gate_let_through(filled: str) -> None:
    """The gate refuses such a change; here is what happens to one that got past it."""
    row = """'[["run", "other", "ana", "x", 1, 0, "", "", false, "", null, "", {}, "c", 0, "d", "{}"]]'"""
    insert = f"SELECT holdfast.write_1(jsonb_build_object('inserted', {row}::jsonb))"
    connections = Connections(parse(filled), size=4)
    for sql in (insert, "UPDATE holdfast.records SET tenant = 'other' WHERE id = 'of-ana'"):
        with pytest.raises(Rejected, match="outside the scopes of its sender"):
            await run_as(connections, ANA, sql)
    assert await run_as(connections, ANA, "DELETE FROM holdfast.records WHERE id = 'theirs'") == "DELETE 0"
    await connections.close()


async def run_as(connections: Connections, scope: Scope, sql: str) -> str:
    async with connections.writing(scope) as connection:
        return await connection.execute(sql)


async def test_a_batch_of_many_users_holds_each_to_his_own(database: str) -> None:
    """Changes of two tenants and several users go in one transaction, and none of them sees another's row."""
    store = PostgresStore(database)
    scopes = [Scope.of_user(tenant, f"u{number}") for tenant in ("acme", "other") for number in range(20)]
    for version in range(3):
        for scope in scopes:
            tenant, user = str(scope.tenant), str(scope.user)
            at = key("same", tenant=tenant, user=user)
            await store.commit(scope, change(put(at, expect=version), event(at)))
    for scope in scopes:
        page = await store.scan(scope, Query(kind="run"))
        assert [(record.key.tenant, record.key.user) for record in page.records] == [(scope.tenant, scope.user)]
    await store.close()
