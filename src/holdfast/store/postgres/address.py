"""Where a PostgreSQL store is: its URL, read, and shown without its password."""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.parse
from pathlib import Path
from typing import NamedTuple

from holdfast.errors import InvalidInput
from holdfast.store.contract.place import without_secret

POOL_SIZE = 8
"""Connections of one loop, unless the URL says otherwise."""
STATEMENT_CACHE_SIZE = 128
STATEMENT_TIMEOUT_S = 30
"""How long the server may work on one statement, unless the URL says otherwise."""
HEADS_MAX = 20_000
"""Rows that a process remembers, unless the URL says otherwise."""
GRACE_S = 5.0
"""How much longer we wait for an answer than the server may work on it."""
_OWN = {
    "pool_size": POOL_SIZE,
    "statement_cache_size": STATEMENT_CACHE_SIZE,
    "statement_timeout_s": STATEMENT_TIMEOUT_S,
    "heads_max": HEADS_MAX,
}
_LEAST = {"pool_size": 2, "statement_cache_size": 0}


class Address(NamedTuple):
    """A URL, read. `dsn` is the driver's part of it; `shown` has no password; `process` names ours to the server.

    Options of ours in the URL: `pool_size` (connections of one event loop), `statement_cache_size` (0 for a pooler in
    transaction mode that does not know prepared statements), `statement_timeout_s` (whole seconds), `heads_max` (rows
    whose versions this process remembers).
    """

    dsn: str
    shown: str
    pool_size: int
    statement_cache_size: int
    statement_timeout_s: int
    heads_max: int
    process: str
    grace_s: float = GRACE_S

    @property
    def answer_timeout_s(self) -> float:
        """How long the server may stay silent, for whoever waits."""
        return self.statement_timeout_s + self.grace_s

    @property
    def lock_folder(self) -> Path:
        """Where processes of this host that work on this database prove that they live."""
        parts = urllib.parse.urlsplit(self.dsn)
        place = f"{parts.hostname or ''}:{parts.port or 5432}{parts.path}"
        name = hashlib.blake2b(place.encode(), digest_size=8).hexdigest()
        return Path(tempfile.gettempdir()) / f"holdfast-{os.getuid()}" / name


def parse(url: str, *, process: str = "") -> Address:
    """The address in "postgresql://user@host/database". Raises InvalidInput, without showing a password."""
    parts = urllib.parse.urlsplit(url)
    shown = without_secret(url)
    if parts.scheme not in ("postgres", "postgresql") or (not parts.netloc and not parts.query):
        raise InvalidInput(f'store URL: expected "postgresql://user@host/database", saw {shown!r}', url=shown)
    options = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
    numbers = {}
    for name, default in _OWN.items():
        text = options.pop(name, str(default))
        least = _LEAST.get(name, 1)
        if not text.isdigit() or int(text) < least:
            raise InvalidInput(f"store URL: expected {name} as a number from {least} on, saw {text!r}", url=shown)
        numbers[name] = int(text)
    dsn = urllib.parse.urlunsplit(parts._replace(scheme="postgresql", query=urllib.parse.urlencode(options)))
    return Address(dsn=dsn, shown=shown, process=process, **numbers)
