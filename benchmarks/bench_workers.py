"""Worker processes on PostgreSQL: runs claimed a second, and durable steps a second with 1, 2 and 4 workers.

The runs of a hundred users stand in line before the workers open their engines; the clock runs from then to the end of
the last run. Claims are asked for one, 16 and 200 runs at a time, by one process, of a line of the same kind.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Callable
from time import perf_counter

from benchmarks import server
from benchmarks.contestants.workers import STEPS, workflow
from benchmarks.harness import Comparison, Options, compare, options, publish
from holdfast import Engine
from holdfast.store.contract.records import Claim, Query, Scope
from holdfast.store.open import open_store
from holdfast.workflow.model.run import RUN

USERS = 100
RUNS = 2_000
QUICK_RUNS = 40
AT_ONCE = 200
WORKERS = (1, 2, 4)
BATCHES = (1, 16, 200)
RUNS_MAX = 250
"""Places of a worker: fewer than there are runs, so that the line is used."""
LOOK_S = 0.01
TIMEOUT_S = 300.0


async def _fill(url: str, runs: int) -> None:
    async with Engine(url, workflow(), works=False) as door:
        for begin in range(0, runs, AT_ONCE):
            numbers = range(begin, min(runs, begin + AT_ONCE))
            await asyncio.gather(*(door.start("count", user=f"user-{number % USERS}") for number in numbers))


async def _until_ended(url: str) -> None:
    store = open_store(url)
    try:
        query = Query(kind=RUN, statuses=("running", "waiting"))
        async with asyncio.timeout(TIMEOUT_S):
            while (await store.scan(Scope.system(), query, limit=1)).records:  # noqa: ASYNC110 -- others do it
                await asyncio.sleep(LOOK_S)
    finally:
        await store.close()


async def _claimed(url: str, runs: int, batch: int) -> float:
    store = open_store(url)
    try:
        claim = Claim(kind=RUN, owner="bench", from_owners=("",), statuses=("running",), limit=batch)
        began, taken = perf_counter(), 0
        while found := len(await store.claim(Scope.system(), claim)):
            taken += found
        took_s = perf_counter() - began
    finally:
        await store.close()
    assert taken == runs, f"claimed {taken} of {runs}"
    return runs / took_s


def _claims_per_s(on: server.Server, runs: int, batch: int) -> Callable[[], float]:
    def measure() -> float:
        with on.database() as url:
            asyncio.run(_fill(url, runs))
            return asyncio.run(_claimed(url, runs, batch))

    return measure


def _steps_per_s(on: server.Server, runs: int, workers: int) -> Callable[[], float]:
    def measure() -> float:
        with on.database() as url, contextlib.ExitStack() as stack:
            asyncio.run(_fill(url, runs))
            command = [sys.executable, "-m", "benchmarks.contestants.workers", url, str(RUNS_MAX)]
            crew = [
                stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
                for _ in range(workers)
            ]
            for each in crew:
                assert each.stdout is not None
                each.stdout.readline()
            began = perf_counter()
            for each in crew:
                assert each.stdin is not None
                each.stdin.write("go\n")
                each.stdin.flush()
            asyncio.run(_until_ended(url))
            took_s = perf_counter() - began
            for each in crew:
                each.communicate(timeout=TIMEOUT_S)
            return runs * STEPS / took_s

    return measure


def comparisons(on: server.Server, chosen: Options) -> list[Comparison]:
    """Both questions, where they are asked."""
    runs = QUICK_RUNS if chosen.quick else RUNS
    claims = {f"holdfast, {batch} at a time": _claims_per_s(on, runs, batch) for batch in BATCHES}
    steps = {f"holdfast, {workers} workers": _steps_per_s(on, runs, workers) for workers in WORKERS}
    asked = {"runs claimed": (claims, "runs/s"), "steps by worker processes": (steps, "steps/s")}
    return [
        compare(
            question,
            contestants,
            unit=unit,
            better="more",
            rounds=chosen.rounds,
            ours=next(iter(contestants)),
            facts={"runs": runs, "users": USERS, "steps of a run": STEPS},
        )
        for question, (contestants, unit) in asked.items()
        if chosen.only in question
    ]


def main() -> None:
    """Measure and print."""
    chosen = options(__doc__ or "", rounds=3)
    with server.running() as on:
        publish("workers", comparisons(on, chosen), chosen, servers=[on.version])


if __name__ == "__main__":
    main()
