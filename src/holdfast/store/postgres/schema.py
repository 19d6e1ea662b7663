"""The tables, made and brought up to date by numbered migrations, once per process before anything else is asked.

A migration only adds, so that code of the release before works on with the new schema: `least` says how old code may
be. Roles belong to the whole server, everything else to the schema `holdfast` of one database.
"""

from __future__ import annotations

import asyncio
import os
from importlib import resources

import asyncpg

from holdfast.errors import Unavailable
from holdfast.store.postgres.connections import Connection, Connections
from holdfast.store.postgres.errors import EVERYTHING, translate

ATTEMPTS_MAX = 5
"""How often a migration is begun that others, on other databases of the server, get in the way of."""
_LOCK = 0x686F6C64
"""Of the advisory lock that lets one process migrate at a time; ASCII "hold"."""
_ROLES = """
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['holdfast_scoped', 'holdfast_system'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        END IF;
        IF NOT pg_has_role(current_user, name, 'MEMBER') THEN
            EXECUTE format('GRANT %I TO %I', name, current_user);
        END IF;
    END LOOP;
END $$;
"""
_RACES = (
    asyncpg.DuplicateObjectError,
    asyncpg.DuplicateTableError,  # a look for the table that was cached before the lock came
    asyncpg.UniqueViolationError,
    asyncpg.InternalServerError,  # "tuple concurrently updated": two grants of one role at a time
    asyncpg.SerializationError,
)


def migrations() -> list[tuple[int, str, str]]:
    """Number, name and SQL of each migration, in order."""
    files = sorted((resources.files("holdfast.store.postgres") / "migrations").iterdir(), key=lambda file: file.name)
    found = [file for file in files if file.name.endswith(".sql")]
    return [(int(file.name.split("_")[0]), file.name.removesuffix(".sql"), file.read_text()) for file in found]


class Schema:
    """Whether the database is ready, asked once per process."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._ready_in: int | None = None

    async def ensure(self) -> None:
        """Make the schema, or bring it up to date, unless that was seen to. Raises Unavailable, saying what to do."""
        if self._ready_in != os.getpid():
            await self.migrate()

    async def migrate(self) -> list[str]:
        """The names of the migrations that were applied."""
        async with self._connections.server.passing():
            return await self._migrate()

    async def _migrate(self) -> list[str]:
        connection = await self._connections.acquire()
        place = self._connections.address.shown
        is_done = False
        try:
            number, least = await _versions(connection)
            applied: list[str] = []
            if number < migrations()[-1][0]:
                applied = await _migrated(connection)
                number, least = await _versions(connection)
            known = migrations()[-1][0]
            if least > known:
                raise Unavailable(
                    f"{place}: written by a newer holdfast: schema {number}, which code that knows {known} cannot use"
                    f" (it takes {least}); upgrade",
                    expected=known,
                    seen=number,
                )
            is_done = True
        except asyncpg.InsufficientPrivilegeError as error:
            raise Unavailable(
                f"{place}: the user of the URL may not make the schema or its roles ({error}); open the store once as "
                "the database's owner with CREATEROLE, then grant holdfast_scoped and holdfast_system to this user",
                place=place,
            ) from error
        except EVERYTHING as error:
            raise translate(error, place) from error
        finally:
            await self._connections.release(connection, is_done=is_done)
        self._ready_in = os.getpid()
        return applied


async def _migrated(connection: Connection) -> list[str]:
    """Apply what is missing in one transaction, while nobody else does. (DDL is transactional.)"""
    for attempt in range(ATTEMPTS_MAX):
        try:
            async with connection.transaction():
                await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
                number, _ = await _versions(connection)
                missing = [each for each in migrations() if each[0] > number]
                await connection.execute(_ROLES)
                if number == 0:
                    await connection.execute("CREATE SCHEMA IF NOT EXISTS holdfast")
                for _, _, script in missing:
                    await connection.execute(script)
                if missing:
                    await connection.execute(
                        "UPDATE holdfast.meta SET value = $1 WHERE name = 'schema'", missing[-1][0]
                    )
                return [name for _, name, _ in missing]
        except _RACES:
            if attempt == ATTEMPTS_MAX - 1:
                raise
            await asyncio.sleep(0.05 * (attempt + 1))
    raise AssertionError("unreachable")


async def _versions(connection: Connection) -> tuple[int, int]:
    """The last migration applied, and the least that code must know; zeros where there is no schema."""
    if await connection.fetchval("SELECT to_regclass('holdfast.meta')") is None:
        return 0, 0
    rows = await connection.fetch("SELECT name, value FROM holdfast.meta WHERE name IN ('schema', 'least')")
    found: dict[str, int] = dict(rows)
    return found.get("schema", 0), found.get("least", 0)
