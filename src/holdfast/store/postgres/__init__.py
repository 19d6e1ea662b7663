"""State in PostgreSQL, for many processes on many machines.

`store` answers every call. `writer` commits batches, `tables` and `select` speak SQL, `connections` keeps a pool per
event loop and opens every transaction, with the scopes that the database itself enforces by row level security.
`schema` and `migrations` make the tables, `notices` tells other processes of commits, `inspection` reads it whole.
"""

from holdfast.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
