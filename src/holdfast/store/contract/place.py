"""How a store's place is told to people: its URL without the secrets in it. Pure.

Everything that shows a URL or a location goes through here. It rather hides too much than too little: what cannot be
read as a URL, such as one with a password that should have been quoted, loses all that may belong to the password.
"""

from __future__ import annotations

import re
import urllib.parse

HIDDEN = "***"
_SECRET_OPTION = re.compile(r"pass|pwd|secret|token", re.IGNORECASE)
_PORT = re.compile(r"\d*|.*\]:?\d*")
"""What may stand behind the last colon of a host: a port, or the end of an IPv6 address."""


def without_secret(url: str) -> str:
    """`url` as it may be printed and logged: passwords are replaced by `***`, also those of a URL in an option.

    Of a file nothing is hidden. Doing it twice changes nothing.
    """
    if url.startswith(("sqlite:///", "/")):
        return url
    if "://" not in url:
        scheme, colon, rest = url.partition(":")
        return f"{scheme}:{HIDDEN}{_behind_at(rest)}" if colon and "@" in rest else url
    head, question, query = url.partition("?")
    scheme, _, rest = head.partition("://")
    shown = _without_password(rest)
    if "@" not in rest and shown != rest:  # the password itself has a question mark: the rest of it is behind that
        return f"{scheme}://{shown}{_behind_at(query)}"
    return f"{scheme}://{shown}{question}{'&'.join(map(_option, query.split('&')))}"


def _without_password(rest: str) -> str:
    """What follows the scheme, without a password. It may hold any sign: the user ends at the last `@`."""
    user, at, host = rest.rpartition("@")
    if at:
        name, colon, _ = user.partition(":")
        return f"{name}{colon}{HIDDEN if colon else ''}@{host}"
    authority = rest.partition("/")[0]
    name, colon, port = authority.partition(":")
    return rest if _PORT.fullmatch(port) or not colon else f"{name}:{HIDDEN}"


def _behind_at(text: str) -> str:
    _, at, host = text.rpartition("@")
    return at + host


def _option(text: str) -> str:
    name, equals, value = text.partition("=")
    if not equals:
        return f"{HIDDEN}{_behind_at(text)}" if "@" in text else text
    if _SECRET_OPTION.search(name):
        return f"{name}={HIDDEN}"
    return f"{name}={without_secret(urllib.parse.unquote(value))}" if "%" in value or "://" in value else text
