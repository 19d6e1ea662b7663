"""A store full of runs that wait: `python -m benchmarks.contestants.waiting fill|open URL RUNS [TURN]`.

`fill` puts RUNS runs into an empty store. `open` opens an engine on them, starts one more run, lets nothing happen for
a while, signals some of those that wait, and prints a line of JSON. TURN, from 0, says which: each is signalled once.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from pathlib import Path
from time import perf_counter, process_time

import msgspec

from benchmarks.contestants.copies import Copies, ticket_of, user_of
from holdfast import Engine, Workflow
from holdfast.store.open import open_store
from holdfast.workflow.actors.steps import RunContext

PORTION = 2000
"""Runs that are loaded in one transaction."""
LOADERS = 2
SIGNALS = 20
"""Runs that are signalled each time, one after the other."""
IDLE_S = 3.0


class Opened(msgspec.Struct, frozen=True):
    """What was seen of an engine on a store.

    `first_s`: from its opening until a new run's first step was durable. `signal_s`: the middle time from a signal to
    the durable end of its run. `idle_cpu`: the share of a processor used while nothing happened, from 0 to 1.
    `grown_bytes`: by how much this process grew since before the opening; `peak_bytes`: the most it ever had.
    """

    opened_s: float
    first_s: float
    signal_s: float
    idle_cpu: float
    grown_bytes: float
    peak_bytes: float


def workflow(progressed: asyncio.Event | None = None) -> Workflow:
    """Two steps, of which the second tells that the first is durable, then a review that may take thirty days."""
    wf = Workflow("ask")

    async def write() -> str:
        return "a diagnosis"

    async def check() -> None:
        if progressed is not None:
            progressed.set()

    @wf.state("draft", start=True, to="review")
    async def draft(ctx: RunContext) -> None:
        ctx.data["text"] = await ctx.step("write", write)
        await ctx.step("check", check)

    wf.wait("review", on={"approve": "approved"}, after={"30d": "lapsed"})
    wf.final("approved", "lapsed")
    return wf


async def fill(url: str, runs: int) -> None:
    """Put `runs` waiting runs into the empty store at `url`."""
    copies = await Copies.of(workflow(), "review")
    portions = copies.portions(runs, PORTION)
    store = open_store(url)
    try:
        await store.migrate()
        await store.load(copies.shared)

        async def load() -> None:
            for portion in portions:
                await store.load(portion)

        async with asyncio.TaskGroup() as group:
            for _ in range(LOADERS):
                group.create_task(load())
        await store.adopt(copies.streams, incarnation=1)
    finally:
        await store.close()


async def opened(url: str, runs: int, turn: int) -> Opened:
    """Open an engine on the store at `url`, in which `runs` wait, and see what it costs."""
    progressed = asyncio.Event()
    before_bytes = _memory_bytes("VmRSS")
    started = perf_counter()
    async with Engine(url, workflow(progressed)) as engine:
        opened_s = perf_counter() - started
        fresh = await engine.start("ask", {"service": "fresh"}, user="fresh")
        await progressed.wait()
        first_s = perf_counter() - started
        await fresh.reach("review")
        idle_cpu = await _idle_cpu()
        signals_s = [await _signal_s(engine, nth * (runs // SIGNALS) + turn) for nth in range(SIGNALS)]
        grown_bytes = _memory_bytes("VmRSS") - before_bytes
    return Opened(
        opened_s, first_s, statistics.median(signals_s), idle_cpu, float(grown_bytes), float(_memory_bytes("VmHWM"))
    )


async def _signal_s(engine: Engine, number: int) -> float:
    """Seconds from a signal, by somebody who knows the ticket, until its run has durably ended."""
    started = perf_counter()
    handle = await engine.get(ticket_of(number), user=user_of(number))
    await handle.send("approve", by="ana")
    elapsed_s = perf_counter() - started
    await handle.refresh()
    if handle.status != "done":
        raise AssertionError(f"expected run {number} to have ended, saw it {handle.status} in {handle.state}")
    return elapsed_s


async def _idle_cpu() -> float:
    before_s, started = process_time(), perf_counter()
    await asyncio.sleep(IDLE_S)
    return (process_time() - before_s) / (perf_counter() - started)


def _memory_bytes(name: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Fill, or open and print what was seen."""
    part, url, runs, *turn = sys.argv[1:]
    if part == "fill":
        asyncio.run(fill(url, int(runs)))
    else:
        print(msgspec.json.encode(asyncio.run(opened(url, int(runs), *map(int, turn)))).decode())


if __name__ == "__main__":
    main()
