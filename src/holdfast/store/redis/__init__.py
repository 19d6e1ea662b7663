"""State in Redis 7 or Valkey, alone: as quick as it gets, and as durable as the server's append-only file.

`store` answers every call. Every write is one script that runs on the server (see `scripts`), `writer` judges what it
writes, `rows` turns records into what a hash holds and back, `finding` walks the indexes, `places` names the keys so
that a tenant's lie together in a cluster, `manager` keeps a client per event loop.
"""

from holdfast.store.redis.store import RedisStore

__all__ = ["RedisStore"]
