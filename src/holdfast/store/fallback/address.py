"""Whether a store's URL asks for memory where its server is away. Pure."""

from __future__ import annotations

import urllib.parse

from holdfast.errors import InvalidInput
from holdfast.store.contract.place import without_secret

OPTION, MEMORY = "fallback", "memory"
SCHEMES = ("redis", "rediss", "valkey")
"""One server each: a cluster, like a database, is nothing that anybody develops on alone."""


def falls_back(url: str) -> bool:
    """Whether `url` asks for a fallback. Raises InvalidInput where it asks for another than memory, or of another
    store than a single Redis."""
    scheme, _, rest = url.partition(":")
    options = _options(rest)
    inside = [_options(value) for name, value in options if name == "cache"]
    asked = [value for name, value in [*options, *(pair for pairs in inside for pair in pairs)] if name == OPTION]
    if not asked:
        return False
    if scheme.lower() not in SCHEMES or any(inside) or set(asked) != {MEMORY}:
        shown = without_secret(url)
        raise InvalidInput(
            f"store URL: expected {OPTION}={MEMORY}, on {', '.join(f'{name}://' for name in SCHEMES)} alone, saw "
            f"{shown!r}; leave it out elsewhere: a mirror goes on from its database by itself",
            url=shown,
        )
    return True


def without_fallback(url: str) -> str:
    """`url` for whoever must see the server itself or nothing. Raises InvalidInput as `falls_back` does."""
    if not falls_back(url):
        return url
    place, _, query = url.partition("?")
    rest = "&".join(pair for pair in query.split("&") if pair.partition("=")[0] != OPTION)
    return f"{place}?{rest}" if rest else place


def with_fallback(url: str) -> str:
    """`url`, asking for memory where its server is away. Raises InvalidInput where it cannot be asked for."""
    if not falls_back(url):
        url = f"{url}{'&' if '?' in url else '?'}{OPTION}={MEMORY}"
        falls_back(url)
    return url


def _options(text: str) -> list[tuple[str, str]]:
    return urllib.parse.parse_qsl(text.partition("?")[2], keep_blank_values=True)
