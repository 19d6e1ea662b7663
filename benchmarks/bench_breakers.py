"""What a call through a closed breaker costs over a bare await: ours beside six of Python's.

Each figure is CPU time of one awaited call less that of a bare await of the same function, taken in turns in one round,
with the garbage collector off. A peer that is not installed is left out, and said so in the facts. The peers count
failures in a row and let everybody into a half-open breaker (interlock apart); ours has a window with rates, and counts
from several threads.
"""

from __future__ import annotations

import asyncio
import datetime
import gc
import importlib
import importlib.util
import statistics
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from time import thread_time
from typing import Any

from benchmarks.harness import Comparison, compare, options, publish
from holdfast import AdaptiveLimit, Bulkhead, CircuitBreaker, Guard, RetryBudget, preset
from holdfast.resilience.breaker import BreakerOptions

Call = Callable[[], Awaitable[Any]]
TURNS = 5


async def nothing() -> None:
    """What is called."""


def holdfast_count() -> Call:
    """Ours over the last 100 calls."""
    breaker = CircuitBreaker("bench", BreakerOptions(window_calls=100))
    return partial(breaker.call, nothing)


def holdfast_time() -> Call:
    """Ours as its preset for HTTP has it: over the last 30 seconds."""
    breaker = CircuitBreaker("bench", preset("http"))
    return partial(breaker.call, nothing)


def holdfast_guard() -> Call:
    """Ours behind a bulkhead."""
    guard = Guard(CircuitBreaker("bench"), bulkhead=Bulkhead("bench", places=10))
    return partial(guard.call, nothing)


def holdfast_all() -> Call:
    """Ours behind a retry budget, a bulkhead and an adaptive limit."""
    bulkhead = Bulkhead("bench", places=10)
    guard = Guard(
        CircuitBreaker("bench"), bulkhead=bulkhead, limit=AdaptiveLimit(bulkhead, most=50), budget=RetryBudget()
    )
    return partial(guard.call, nothing)


def holdfast_timeout() -> Call:
    """Ours with a bound on the time of each call."""
    return partial(Guard(CircuitBreaker("bench"), timeout_s=5.0).call, nothing)


def asyncio_timeout() -> Call:
    """What the bound alone costs."""

    async def call() -> None:
        async with asyncio.timeout(5.0):
            await nothing()

    return call


def pybreaker() -> Call:
    """Its only way around an await: a sync context manager."""
    breaker = importlib.import_module("pybreaker").CircuitBreaker()

    async def call() -> None:
        with breaker.calling():
            await nothing()

    return call


def aiobreaker() -> Call:
    breaker = importlib.import_module("aiobreaker").CircuitBreaker(timeout_duration=datetime.timedelta(seconds=60))
    return partial(breaker.call_async, nothing)


def purgatory_block() -> Call:
    """Its context manager, kept between calls."""
    factory = importlib.import_module("purgatory").AsyncCircuitBreakerFactory()
    kept: list[Any] = []

    async def call() -> None:
        if not kept:
            kept.append(await factory.get_breaker("bench"))
        async with kept[0]:
            await nothing()

    return call


def purgatory_decorator() -> Call:
    decorated: Call = importlib.import_module("purgatory").AsyncCircuitBreakerFactory()("bench")(nothing)
    return decorated


def circuitbreaker() -> Call:
    decorated: Call = importlib.import_module("circuitbreaker").CircuitBreaker(name="bench")(nothing)
    return decorated


def hyx() -> Call:
    decorated: Call = importlib.import_module("hyx.circuitbreaker").consecutive_breaker()(nothing)
    return decorated


def interlock() -> Call:
    breaker = importlib.import_module("interlock").CircuitBreaker(name="bench")
    return partial(breaker.call_async, nothing)


CONTESTANTS: dict[str, tuple[Callable[[], Call], str]] = {
    "holdfast": (holdfast_count, ""),
    "holdfast, window of time": (holdfast_time, ""),
    "holdfast, guard and bulkhead": (holdfast_guard, ""),
    "holdfast, guard with timeout_s": (holdfast_timeout, ""),
    "asyncio.timeout alone": (asyncio_timeout, ""),
    "holdfast, all of a guard": (holdfast_all, ""),
    "pybreaker": (pybreaker, "pybreaker"),
    "aiobreaker": (aiobreaker, "aiobreaker"),
    "purgatory, block": (purgatory_block, "purgatory"),
    "purgatory, decorator": (purgatory_decorator, "purgatory"),
    "circuitbreaker": (circuitbreaker, "circuitbreaker"),
    "hyx": (hyx, "hyx"),
    "interlock-cb": (interlock, "interlock"),
}


def is_there(package: str) -> bool:
    """Whether a peer's package is installed. Ours always is."""
    return not package or importlib.util.find_spec(package) is not None


def ns_over_bare(make: Callable[[], Call], calls: int) -> float:
    """CPU nanoseconds of one call over a bare await, the middle of a few turns. In a loop of its own."""

    async def measure() -> float:
        call = make()
        await _spent(call, 100)
        return statistics.median([await _spent(call, calls) - await _spent(nothing, calls) for _ in range(TURNS)])

    gc.collect()
    gc.disable()
    try:
        return asyncio.run(measure()) / calls * 1e9
    finally:
        gc.enable()


async def _spent(call: Call, calls: int) -> float:
    began = thread_time()
    for _ in range(calls):
        await call()
    return thread_time() - began


def main() -> None:
    """Measure and print."""
    chosen = options(__doc__ or "", rounds=9)
    calls = 500 if chosen.quick else 4000
    there = {name: make for name, (make, package) in CONTESTANTS.items() if is_there(package)}
    missing = ", ".join(name for name in CONTESTANTS if name not in there)
    comparison: Comparison = compare(
        "one call through a closed breaker, over a bare await",
        {name: lambda make=make: ns_over_bare(make, calls) for name, make in there.items()},
        unit="ns of CPU per call",
        better="less",
        rounds=chosen.rounds,
        facts={"not installed": missing or "none"},
    )
    publish("breakers", [comparison], chosen)


if __name__ == "__main__":
    sys.exit(main())
