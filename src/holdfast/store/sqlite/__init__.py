"""The embedded default: one SQLite file, meant for production on one machine.

`store` answers every call, `writer` commits what queued up, `tables` and `select` speak SQL, `schema` and `migrations`
make the file, `turn` takes turns with other processes. A backup of any store is such a file, too (see `archive`).
"""

from holdfast.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
