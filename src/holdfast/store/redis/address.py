"""Where a Redis store is: its URL, read, and shown without its password."""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.parse
from pathlib import Path
from typing import NamedTuple

from holdfast.errors import InvalidInput
from holdfast.store.contract.place import without_secret

NAMESPACE = "holdfast"
OPTIONS = frozenset({"client_name", "db", "password", "username"})
"""What a URL may say to the driver beside the place; and whatever begins with `ssl_`."""
_SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "valkey": "redis",
    "redis+cluster": "redis",
    "rediss+cluster": "rediss",
}


class Address(NamedTuple):
    """A URL, read. `url` is the driver's part of it, `shown` has no password; all keys begin with `namespace`."""

    url: str
    shown: str
    namespace: str
    is_cluster: bool

    @property
    def lock_folder(self) -> Path:
        """Where processes of this host that work on this store prove that they live."""
        parts = urllib.parse.urlsplit(self.url)
        place = f"{parts.hostname}:{parts.port or 6379}{parts.path}/{self.namespace}"
        name = hashlib.blake2b(place.encode(), digest_size=8).hexdigest()
        return Path(tempfile.gettempdir()) / f"holdfast-{os.getuid()}" / name


def parse(url: str) -> Address:
    """The address in "redis://host:6379/0?namespace=holdfast". Raises InvalidInput, without showing a password."""
    parts = urllib.parse.urlsplit(url)
    shown = without_secret(url)
    options = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
    namespace = options.pop("namespace", NAMESPACE)
    if parts.scheme not in _SCHEMES or not parts.hostname or not _is_place(parts):
        raise InvalidInput(
            f'store URL: expected "redis://host:6379/0" or "redis+cluster://host", saw {shown!r}', url=shown
        )
    if unknown := sorted(name for name in options if name not in OPTIONS and not name.startswith("ssl_")):
        known = ", ".join(["namespace", *sorted(OPTIONS), "ssl_*"])
        raise InvalidInput(f"store URL: expected options among {known}, saw {', '.join(unknown)}", url=shown)
    if not namespace or set("{}\0") & set(namespace):
        raise InvalidInput(f"store URL: expected a namespace without braces, saw {namespace!r}", url=shown)
    driver = parts._replace(scheme=_SCHEMES[parts.scheme], query=urllib.parse.urlencode(options))
    return Address(urllib.parse.urlunsplit(driver), shown, namespace, parts.scheme.endswith("+cluster"))


def _is_place(parts: urllib.parse.SplitResult) -> bool:
    """Whether the port and the number of the database are numbers; a cluster has no databases."""
    try:
        _ = parts.port
    except ValueError:
        return False
    database = parts.path.strip("/")
    return not database or (database.isdigit() and (database == "0" or not parts.scheme.endswith("+cluster")))
