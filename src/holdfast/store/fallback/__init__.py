"""Redis alone, and memory where it is away: for development, on "redis://host:6379/0?fallback=memory".

`rules` says what becomes of one change of an outage once the server is back, and is pure. `store` answers every call,
from Redis or from the `outage`, which starts with what this process has `known`. `merging` brings the changes of an
outage to Redis, one by one and in their order; what does not go in is kept aside (`unmerged`). `address` reads the URL.

Importing this does not load Redis; `store` and `merging` do.
"""

from holdfast.store.fallback.address import falls_back, without_fallback
from holdfast.store.fallback.unmerged import Unmerged

__all__ = ["Unmerged", "falls_back", "without_fallback"]
