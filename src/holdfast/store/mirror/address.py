"""Where a mirror's two halves are: one URL, read."""

from __future__ import annotations

import urllib.parse
from typing import NamedTuple

from holdfast.errors import InvalidInput

PREFIX = "hybrid+"
_EXPECTED = 'store URL: expected "hybrid+postgresql://user@host/database?cache=redis://host:6379/0"'


class Address(NamedTuple):
    """`truth` and `cache` are URLs of their own; `namespace` is what the names of all that is cached begin with."""

    truth: str
    cache: str
    namespace: str


def parse(url: str) -> Address:
    """The address in a `hybrid+` URL. Raises InvalidInput, without showing passwords.

    The namespace is the database's name, unless `&namespace=` says otherwise: databases of one name that share a Redis
    need one each, and all processes of one database the same.
    """
    if not url.lower().startswith(PREFIX):
        raise InvalidInput(f"{_EXPECTED}, saw the scheme {url.partition(':')[0]!r}")
    parts = urllib.parse.urlsplit(url[len(PREFIX) :])
    options = urllib.parse.parse_qsl(parts.query, keep_blank_values=True)
    own = {name: value for name, value in options if name in ("cache", "namespace")}
    rest = [(name, value) for name, value in options if name not in own]
    if urllib.parse.urlsplit(own.get("cache", "")).scheme not in ("redis", "rediss"):
        raise InvalidInput(f"{_EXPECTED}; saw no cache that begins with redis:// or rediss://")
    namespace = own.get("namespace") or parts.path.strip("/")
    if not namespace or not namespace.isprintable() or set(namespace) & set("{}"):
        raise InvalidInput(f"{_EXPECTED}; saw neither a database nor a namespace to name what is cached by")
    truth = urllib.parse.urlunsplit(parts._replace(query=urllib.parse.urlencode(rest)))
    return Address(truth, own["cache"], namespace)
