"""The breaker between a store and its server: one of the usual presets, with a cheap question as its probe.

While the server is away calls are refused at once, instead of waiting for a connection each. Once the wait is over the
next call asks the cheap question first (SELECT 1, PING) and goes on where it is answered: no commit is ever the probe,
so none is left unknown for it. What a server refuses shows that it is there, and counts for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Literal, Protocol, runtime_checkable

from holdfast.clock import monotonic_s
from holdfast.errors import BreakerOpen
from holdfast.resilience.breaker import CircuitBreaker, preset
from holdfast.resilience.breaker.machine import Pass
from holdfast.resilience.breaker.outcomes import CANCELLED, FAILURE, IGNORED, SUCCESS
from holdfast.store.contract.protocol import Store

FAILURES_IN_ROW = 3
"""So many connections that were lost or not to be had, with no answer between them: the driver's pool has tried others
before it gives up, so each of these says more than a call of a user."""
OPEN_S = 0.1
OPEN_MAX_S = 1.0
"""Between two cheap questions at most: well below the lease of a process, which ends when it cannot be renewed."""
PROBE_TTL_S = 2.0
"""How long a server may take to be connected to and to answer the cheap question."""


class ServerBreaker:
    """What all calls to one server of a store go through. Usable from any loop and thread.

    `probe` asks the server something that costs nothing, past this breaker, and says whether it answered; it raises
    nothing. `is_away` tells an error that says that the
    server cannot be reached from one that it answered with. Entered anew for each call; raises BreakerOpen, which is an
    `Unavailable`: nothing was asked.

    How long a call takes does not open it: a store that is slow still works, and one that refuses does not. Nor does it
    let calls in by and by, for a store has no more connections than its pool has.
    """

    def __init__(
        self,
        name: str,
        kind: Literal["database", "redis"],
        probe: Callable[[], Awaitable[bool]],
        *,
        is_away: Callable[[BaseException], bool],
        has_parts: bool = False,
        open_s: float = OPEN_S,
        open_max_s: float = OPEN_MAX_S,
        clock: Callable[[], float] = monotonic_s,
    ) -> None:
        """`has_parts`: it is several servers, of which one may be away: opens only where nothing answers any more."""
        options = preset(
            kind,
            failures_in_row=None if has_parts else FAILURES_IN_ROW,
            open_s=open_s,
            open_max_s=max(open_s, open_max_s),
            probe_ttl_s=PROBE_TTL_S,
            ramp_s=0.0,
            classify=lambda error: FAILURE if is_away(error) else IGNORED,
        )
        options = options.but(failure_rate=1.0) if has_parts else options
        self.breaker = CircuitBreaker(name, options, clock=clock)
        self.kind = kind
        self._clock = clock
        self._ask_cheaply = probe

    def passing(self) -> Passage:
        """A context for one call."""
        return Passage(self)

    async def enter(self) -> Pass:
        """A pass for one call, once the server is known to be back where it was away. Raises BreakerOpen."""
        if not self.breaker.lets_all_in:
            await self._probe_if_due()
        return self.breaker.acquire()

    def leave(self, given: Pass, error: BaseException | None) -> None:
        """The call is over, and came to `error`."""
        self.breaker.settle_error(given, error, 0.0)

    async def _probe_if_due(self) -> None:
        given = self.breaker.acquire_probe()
        if given is None:
            return
        began = self._clock()
        outcome = CANCELLED
        try:
            outcome = SUCCESS if await self._answers() else FAILURE
        finally:
            self.breaker.settle(given, outcome, self._clock() - began)

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(self.breaker.options.probe_ttl_s):
                return await self._ask_cheaply()
        except TimeoutError:
            return False

    def __repr__(self) -> str:
        return f"ServerBreaker({self.breaker!r})"


class Passage:
    """One call's way through a server's breaker."""

    __slots__ = ("_given", "_server")

    def __init__(self, server: ServerBreaker) -> None:
        self._server = server
        self._given: Pass | None = None

    async def __aenter__(self) -> None:
        self._given = await self._server.enter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._given is not None, "left once entered"
        self._server.leave(self._given, error)


@runtime_checkable
class Guarded(Protocol):
    """What a store may have beside its facts: breakers in front of the servers that it needs."""

    def server_breakers(self) -> tuple[ServerBreaker, ...]:
        """One for each server, the one that it cannot do without first. No I/O."""
        ...


def breakers_of(store: Store) -> tuple[ServerBreaker, ...]:
    """The breakers of a store that has any; none for one without a server."""
    return store.server_breakers() if isinstance(store, Guarded) else ()


def refused_for_s(error: BaseException) -> float:
    """Until when a breaker refuses what came to this error, in seconds from then; zero where none did."""
    refusal = error if isinstance(error, BreakerOpen) else error.__cause__
    return float(refusal.facts.get("retry_after_s") or 0.0) if isinstance(refusal, BreakerOpen) else 0.0
