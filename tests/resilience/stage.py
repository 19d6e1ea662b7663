"""A clock that stands until it is told, and calls that end as they are told."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from holdfast.clock import seeded_randomness
from holdfast.resilience.breaker import BreakerEvent, BreakerOptions, CircuitBreaker


class Hands:
    """Monotonic seconds that only a test moves."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += seconds


class Boom(Exception):
    """A call's own failure."""


async def works() -> str:
    return "fine"


async def fails() -> str:
    raise Boom("no answer")


def a_breaker(clock: Hands, seed: int = 1, **options: Any) -> tuple[CircuitBreaker, list[BreakerEvent]]:
    """A breaker on that clock without jitter, and the events it tells."""
    given: dict[str, Any] = {"window_calls": 10, "calls_min": 5, "open_s": 30.0, "jitter": 0.0, **options}
    breaker = CircuitBreaker("llm", BreakerOptions(**given), clock=clock, randomness=seeded_randomness(seed))
    events: list[BreakerEvent] = []
    breaker.listen(events.append)
    return breaker, events


async def tried(breaker: CircuitBreaker, *results: bool) -> None:
    """Calls that succeed (True) or fail, whatever comes of them."""
    for is_fine in results:
        with suppress(Boom):
            await breaker.call(works if is_fine else fails)


async def an_open_breaker(clock: Hands, **options: object) -> tuple[CircuitBreaker, list[BreakerEvent]]:
    breaker, events = a_breaker(clock, **options)  # type: ignore[arg-type]
    await tried(breaker, *[False] * 5) if "classify" not in options else breaker.open("planted")
    assert breaker.state == "open"
    return breaker, events
