"""Runs whose process was killed: `python -m benchmarks.contestants.recovery NAME prepare|recover PLACE RUNS`.

Each run has three steps. While preparing, the second never ends: once all runs stand there, "ready" is printed, and the
parent kills the process. While recovering, the beginning of a third step is the first durable progress: its run had its
first step remembered and its second step written anew.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from time import perf_counter

import msgspec

from benchmarks.contestants.witness import Witness

LOOK_EVERY_S = 0.02


class Recovered(msgspec.Struct, frozen=True):
    """Seconds from the opening of the engine to the first durable progress, and until every run had ended."""

    first_s: float
    all_s: float


class Counts:
    """The bodies, and how often each began."""

    def __init__(self, runs: int, *, hangs: bool) -> None:
        self._runs = runs
        self._hangs = hangs
        self._all_there = asyncio.Event()
        self._all = {"first": 0, "second": 0, "third": 0}
        self.first_third_at: float | None = None

    async def first(self) -> None:
        """Done before the death."""
        self._all["first"] += 1

    async def second(self) -> None:
        """Where death comes."""
        self._all["second"] += 1
        if self._all["second"] == self._runs:
            self._all_there.set()
        if self._hangs:
            await asyncio.Event().wait()

    async def third(self) -> None:
        """Begins when the second is durable."""
        if self.first_third_at is None:
            self.first_third_at = perf_counter()
        self._all["third"] += 1

    async def all_hang(self) -> None:
        """Say that all runs stand in their second step, and wait for the end."""
        await self._all_there.wait()
        print("ready", flush=True)
        await asyncio.Event().wait()

    def check_recovered(self) -> None:
        """Raises AssertionError unless first steps were remembered, and the others ran once for each run."""
        expected = {"first": 0, "second": self._runs, "third": self._runs}
        if self._all != expected:
            raise AssertionError(f"expected the bodies to begin {expected} times after recovery, saw {self._all}")


async def until_ended(witness: Witness, runs: int) -> None:
    """Return when `witness`, who looks by a connection of its own, in a thread, counts `runs` that have ended."""
    while await asyncio.to_thread(witness.count) < runs:  # noqa: ASYNC110  a database tells nobody that it changed
        await asyncio.sleep(LOOK_EVERY_S)


async def _recovered(name: str, place: str, runs: int) -> Recovered:
    contestant = importlib.import_module(f"benchmarks.contestants.{name}")
    counts = Counts(runs, hangs=False)
    started = perf_counter()
    await contestant.recover(place, runs, counts)
    all_s = perf_counter() - started
    counts.check_recovered()
    assert counts.first_third_at is not None, "every run had a third step"
    return Recovered(counts.first_third_at - started, all_s)


def main() -> None:
    """Prepare and wait for the end, or recover and print what was measured."""
    name, part, place, runs = sys.argv[1:]
    if part == "prepare":
        contestant = importlib.import_module(f"benchmarks.contestants.{name}")
        asyncio.run(contestant.prepare(place, int(runs), Counts(int(runs), hangs=True)))
    else:
        print(msgspec.json.encode(asyncio.run(_recovered(name, place, int(runs)))).decode())


if __name__ == "__main__":
    main()
