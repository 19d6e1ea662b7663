"""PostgreSQL and Redis together: the truth, and in front of it what was looked at lately.

`rules` says when something cached may be believed, and is pure. `store` answers every call; `recent` reads by way of
the cache, `puts` fills it, `attention` hears of the truth's commits, `generation` and `link` make worthless what the
cache was not told of, `cache` speaks to Redis. `sync` is the face for people, and settles conflicts of writers.

Importing this does not load Redis; `store` and `cache` do.
"""

from holdfast.store.mirror.figures import SyncFigures
from holdfast.store.mirror.sync import SyncManager

__all__ = ["SyncFigures", "SyncManager"]
