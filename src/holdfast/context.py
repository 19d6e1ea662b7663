"""Who asks: the context that every call on a user's behalf carries explicitly.

Frozen, and it can only narrow. It is passed by hand from the door to the store: a context variable would leak from
one request of a kept-alive connection to the next, so none is ever trusted.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from holdfast.errors import InvalidInput, WrongContext

_REFUSED = frozenset({"", "default", "test", "none", "null", "placeholder", "registry", "undefined", "unknown"})
ID_CHARS_MAX = 200
DEFAULT_TENANT = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserExecutionContext:
    """One user's identity for one piece of work. Ids are text of 1 to 200 signs without NUL or newline.

    Example: `UserExecutionContext(user="ana", run="0190...", request="r-1")`. Raises InvalidInput for values that
    stand for nothing ("default", "none", ...): an unset variable must not become a user.
    """

    user: str
    tenant: str = DEFAULT_TENANT
    thread: str = ""
    run: str = ""
    request: str = ""
    deadline_s: float | None = None
    scopes: frozenset[str] = frozenset()
    trace: str = ""

    def __post_init__(self) -> None:
        check_id("user", self.user)
        check_id("tenant", self.tenant)
        for name in ("thread", "run", "request", "trace"):
            if value := getattr(self, name):
                check_id(name, value)

    def child(
        self,
        *,
        run: str | None = None,
        request: str | None = None,
        deadline_s: float | None = None,
        scopes: frozenset[str] | None = None,
    ) -> UserExecutionContext:
        """A narrower context: the earlier deadline (epoch seconds), a subset of the scopes, the same user."""
        if scopes is not None and not scopes <= self.scopes:
            raise InvalidInput(
                f"context of {self.user}: a child may only narrow its scopes, saw {sorted(scopes - self.scopes)} extra"
            )
        deadlines = [value for value in (self.deadline_s, deadline_s) if value is not None]
        return dataclasses.replace(
            self,
            run=self.run if run is None else run,
            request=self.request if request is None else request,
            deadline_s=min(deadlines, default=None),
            scopes=self.scopes if scopes is None else scopes,
        )


def require_context(value: object) -> UserExecutionContext:
    """`value` if it is a context; WrongContext otherwise."""
    if not isinstance(value, UserExecutionContext):
        raise WrongContext(f"must be UserExecutionContext, saw {type(value).__name__}: {value!r:.80}")
    return value


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
