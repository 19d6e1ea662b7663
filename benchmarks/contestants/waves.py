"""Times the runs of a contestant, wave after wave, once a first run has warmed everything up before a witness."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter, process_time

from benchmarks.contestants.process import Measured, Size
from benchmarks.contestants.witness import Witness


async def measured(one: Callable[[int], Awaitable[int]], size: Size, witness: Witness) -> Measured:
    """The time of all waves of `size`; `one(n)` is a run that begins with n and gives n plus one for each step.

    The first run is not timed: imports, prepared statements and first connections are nobody's cost of a step.
    """
    witness.is_watching = True
    await one(0)
    witness.is_watching = False
    witness.check(size.steps)
    started, worked_s = perf_counter(), process_time()
    results = [await asyncio.gather(*(one(number) for number in numbers)) for numbers in _waves(size)]
    seconds, cpu_s = perf_counter() - started, process_time() - worked_s
    expected = [[number + size.steps for number in numbers] for numbers in _waves(size)]
    if results != expected:
        raise AssertionError(f"expected each run to give its number plus {size.steps}, saw {results}")
    return Measured(seconds, witness.setting(), cpu_s)


def _waves(size: Size) -> list[range]:
    return [range(1 + wave * size.runs, 1 + (wave + 1) * size.runs) for wave in range(size.waves)]
