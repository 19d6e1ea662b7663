"""What an outage costs with the presets as they are shipped: in virtual time, so exact, and the same on every machine.

For each kind of dependency: twenty callers a second meet an outage. How long until its breaker opens, how many calls
fail until then, how many are refused meanwhile without being made, how long after the end it is closed again, and after
how long it takes all of its calls. Five seeds, which differ in the jitter of waits and in when calls come.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from holdfast import BreakerOpen, Dependencies, Dependency
from holdfast.resilience.graph import OBJECTIVES_S
from holdfast.testing.simulation.loop import simulated_loop

CALLS_A_SECOND = 20
KINDS = tuple(OBJECTIVES_S)
OUTAGES_S = (10.0, 60.0, 600.0)
QUIET_S = 60.0
LONGEST_S = 3600.0
"""After so long it has not come back: something is wrong."""
SEEDS = 5


class Outage(NamedTuple):
    """What one outage came to. Seconds; calls."""

    open_after_s: float
    failed: int
    refused: int
    probes: int
    closed_after_s: float
    full_after_s: float


class LoopClock:
    """The time of the running loop."""

    def time_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def outage(kind: str, outage_s: float, chance: random.Random) -> Outage:
    """One outage of one dependency."""
    loop, is_down = asyncio.get_running_loop(), False
    failed = refused = probes = 0
    opened_at = closed_at = full_at = 0.0

    async def call() -> None:
        await asyncio.sleep(0.01)
        if is_down:
            raise ConnectionError("no answer")

    async def probe() -> None:
        nonlocal probes
        probes += 1
        await call()

    node = Dependency(name="it", kind=kind, probe=probe)  # type: ignore[arg-type]
    dependencies = Dependencies(node, clock=LoopClock(), randomness=chance)
    door, breaker = dependencies.on("it"), dependencies.breaker("it")

    async def caller(until: float) -> None:
        nonlocal failed, refused, opened_at, closed_at, full_at
        while loop.time() < until:
            try:
                await door.call(call)
            except BreakerOpen:
                refused += 1
            except ConnectionError:
                failed += 1
            view = breaker.look()
            if not opened_at and view.state == "open":
                opened_at = loop.time()
            if opened_at and not is_down and view.state == "closed":
                closed_at = closed_at or loop.time()
                if view.share >= 1:
                    full_at = full_at or loop.time()
            await asyncio.sleep(chance.expovariate(CALLS_A_SECOND))

    async with dependencies:
        await caller(loop.time() + QUIET_S)
        is_down, began = True, loop.time()
        await caller(began + outage_s)
        is_down, ended = False, loop.time()
        refused_then = refused
        while not full_at and loop.time() < ended + LONGEST_S:
            await caller(loop.time() + 1.0)
    return Outage(opened_at - began, failed, refused_then, probes, closed_at - ended, full_at - ended)


def measured(kind: str, outage_s: float) -> list[Outage]:
    """The outages of all seeds."""
    found = []
    for seed in range(SEEDS):
        loop = simulated_loop(random.Random(seed))
        found.append(loop.run_until_complete(outage(kind, outage_s, random.Random(seed))))
        loop.close()
    return found


def told(figures: Sequence[float]) -> str:
    """Median (least to greatest)."""
    return f"{statistics.median(figures):.1f} ({min(figures):.1f} to {max(figures):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args()
    if not asked.json:
        print("| kind | outage | open after | failed | refused, of 20 a second | closed again | takes all again |")
        print("|---|---|---|---|---|---|---|")
    for kind in KINDS:
        for outage_s in OUTAGES_S:
            rounds = measured(kind, outage_s)
            columns = [list(column) for column in zip(*rounds, strict=True)]
            if asked.json:
                print(json.dumps({"kind": kind, "outage_s": outage_s, "rounds": [one._asdict() for one in rounds]}))
                continue
            opened, failed, refused, _, closed, full = (told(column) for column in columns)
            print(f"| {kind} | {outage_s:g} s | {opened} s | {failed} | {refused} | {closed} s | {full} s |")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
