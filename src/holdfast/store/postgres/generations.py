"""The generation of what caches hold: a sum of several rows, so that processes that raise it do not queue up.

Raised inside the transaction whose commit a cache may not hear of. Who reads the new sum reads what was committed too.
"""

from __future__ import annotations

from holdfast.store.postgres.connections import Connection

SLOTS = 16


async def read_sum(connection: Connection) -> int:
    """The generation, as far as it is committed."""
    total: int = await connection.fetchval("SELECT sum(value)::bigint FROM holdfast.generations")
    return total


async def raise_slot(connection: Connection, slot: int) -> None:
    """Raise the generation, from the end of this transaction on."""
    await connection.execute("UPDATE holdfast.generations SET value = value + 1 WHERE slot = $1", slot)
