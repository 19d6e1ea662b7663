"""Who asks: the context that every call on a user's behalf carries explicitly.

Frozen, and it can only narrow. It is passed by hand from the door to the store: a context variable would leak from
one request of a kept-alive connection to the next, so none is ever trusted.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from holdfast.budget import Budget
from holdfast.cleanups import CleanUp, CleanupFailure, Cleanups
from holdfast.errors import ContextClosed, InvalidInput, WrongContext
from holdfast.names import DEFAULT_TENANT, check_id

CLEANUP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True)
class UserExecutionContext:
    """One user's identity for one piece of work. Ids are text of 1 to 200 signs without NUL or newline.

    Example: `UserExecutionContext(user="ana", run="0190...", request="r-1")`. Raises InvalidInput for values that
    stand for nothing ("default", "none", ...): an unset variable must not become a user.

    Two contexts with the same ids, deadline, scopes and budget are equal; each has clean-ups of its own.
    """

    user: str
    tenant: str = DEFAULT_TENANT
    thread: str = ""
    run: str = ""
    request: str = ""
    deadline_s: float | None = None
    scopes: frozenset[str] = frozenset()
    budget: Budget | None = None
    trace: str = ""
    _cleanups: Cleanups = field(default_factory=Cleanups, repr=False, compare=False)

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
        budget: Budget | None = None,
    ) -> UserExecutionContext:
        """A narrower context: the earlier deadline (epoch seconds), a subset of the scopes, a part of the budget, the
        same user. Its clean-ups run before its parent's at the latest, and it is closed when its parent is."""
        require_context(self)
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
            budget=self.budget.part(budget) if self.budget and budget else budget or self.budget,
            _cleanups=Cleanups(self._cleanups),
        )

    @property
    def is_closed(self) -> bool:
        """Whether its clean-up, or that of a context it came from, has begun: no call takes it any more."""
        return self._cleanups.is_closed

    def on_cleanup(self, clean_up: CleanUp, *, name: str = "", timeout_s: float = CLEANUP_TIMEOUT_S) -> None:
        """Have `clean_up()` called when the work is over: the last that was registered first, each cancelled after
        `timeout_s` seconds. A coroutine function, or a plain one that does not block. At most 1,000 at a time.
        Raises ContextClosed, InvalidInput."""
        if not timeout_s > 0:
            raise InvalidInput(f"clean-up: timeout_s: expected more than 0, saw {timeout_s!r}", name="timeout_s")
        self._cleanups.add(clean_up, name=name or getattr(clean_up, "__name__", "clean-up"), timeout_s=timeout_s)

    async def cleanup(self) -> tuple[CleanupFailure, ...]:
        """Close the context and run its clean-ups, those of its children first. They run once, however many ask at
        once and from whatever loop or thread; all get the same answer: the ones that raised or took too long."""
        return await self._cleanups.run()


def require_context(value: object) -> UserExecutionContext:
    """`value` if it is a context that is in use; WrongContext, or ContextClosed after its clean-up."""
    if not isinstance(value, UserExecutionContext):
        raise WrongContext(f"must be UserExecutionContext, saw {type(value).__name__}: {value!r:.80}")
    if value.is_closed:
        raise ContextClosed(
            f"context of {value.user}: expected one in use, saw one after its clean-up; make a new one", user=value.user
        )
    return value
