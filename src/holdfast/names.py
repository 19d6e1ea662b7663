"""What may name a user, a tenant, a resource: real ids, which break no key and stand for something."""

from __future__ import annotations

from typing import Protocol

from holdfast.errors import InvalidInput

_REFUSED = frozenset({"", "default", "test", "none", "null", "placeholder", "registry", "undefined", "unknown"})
ID_CHARS_MAX = 200
DEFAULT_TENANT = "main"


class Asker(Protocol):
    """Who asks, as rules need to know it: the ids of a user's context."""

    @property
    def user(self) -> str: ...

    @property
    def tenant(self) -> str: ...

    @property
    def run(self) -> str: ...

    @property
    def request(self) -> str: ...


def check_id(name: str, value: object) -> str:
    """`value` if it can name something; InvalidInput for placeholders, non-text, and signs that break keys."""
    if not isinstance(value, str):
        raise InvalidInput(f"{name}: expected text, saw {type(value).__name__}", name=name)
    if value.strip().lower() in _REFUSED:
        raise InvalidInput(f"{name}: expected a real id, saw the placeholder {value!r}", name=name, seen=value)
    if len(value) > ID_CHARS_MAX or any(sign in value for sign in "\0\n\r"):
        raise InvalidInput(
            f"{name}: expected 1 to {ID_CHARS_MAX} signs without NUL or newline, saw {value!r:.60}", name=name
        )
    return value
