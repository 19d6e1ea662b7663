"""What breakers do where asyncio makes it hard: ours and six of Python's, put to the same faults in one run.

Each is told to open after three failures, or at half of ten calls, and to wait WAIT_S. A fault is a short play, and its
verdict what could be seen from outside: which calls were made, and which were refused. A peer that is not installed is
left out.
"""

from __future__ import annotations

import asyncio
import datetime
import importlib
import importlib.metadata
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from benchmarks.bench_breakers import is_there
from benchmarks.harness import RESULTS, machine, parser_of, read_options
from holdfast import BreakerOptions, CircuitBreaker

WAIT_S = 0.4
THRESHOLD = 3
PROBES = 3
CROWD = 50
LOOK_S = 0.02
YES = "yes"

Function = Callable[[], Awaitable[Any]]
Through = Callable[[Function], Awaitable[Any]]
"""Calls a function through a breaker."""


class Wrong(Exception):
    """What a call raises that fails."""


class Subject:
    """One breaker, fresh for one fault."""

    def __init__(self, through: Through) -> None:
        self._through = through

    async def reaches(self, work: Function) -> bool:
        """Whether a call was made; whatever came of it."""
        is_made = False

        async def seen() -> Any:
            nonlocal is_made
            is_made = True
            return await work()

        with suppress(Exception):
            await self._through(seen)
        return is_made

    def start(self, work: Function) -> asyncio.Task[bool]:
        """A call under way."""
        return asyncio.ensure_future(self.reaches(work))

    async def open(self) -> None:
        """Fail until it refuses."""
        for _ in range(4 * THRESHOLD):
            if not await self.reaches(_fail):
                return
        raise AssertionError("it does not open by failures")

    async def recover(self) -> None:
        """Wait, and succeed until it takes as many calls at once as it is sent."""
        await asyncio.sleep(WAIT_S + LOOK_S)
        for _ in range(20):
            await self.reaches(_succeed)
            passed = await asyncio.gather(*(self.reaches(_succeed) for _ in range(2 * PROBES)))
            if all(passed):
                return
        raise AssertionError("it does not recover by successes")


async def _succeed() -> None:
    await asyncio.sleep(0)


async def _fail() -> None:
    raise Wrong


# -- the faults ---------------------------------------------------------------------------------------------------


async def by_rate(subject: Subject) -> str:
    """Every second call fails."""
    for number in range(40):
        if not await subject.reaches(_fail if number % 2 else _succeed):
            return YES
    return "no"


async def crowd_at_half_open(subject: Subject) -> str:
    """Fifty callers when the wait is over."""
    await subject.open()
    await asyncio.sleep(WAIT_S + LOOK_S)
    gate = asyncio.Event()
    tasks = [subject.start(gate.wait) for _ in range(CROWD)]
    await asyncio.sleep(LOOK_S)
    gate.set()
    passed = sum(await asyncio.gather(*tasks))
    return YES if 0 < passed <= PROBES else f"{passed} pass"


async def cancelled_calls(subject: Subject) -> str:
    """Its callers go away, three times."""
    for _ in range(THRESHOLD):
        await _cancelled(subject)
    return YES if await subject.reaches(_succeed) else "opens"


async def cancelled_probes(subject: Subject) -> str:
    """As many probes as it has permits for are cancelled; the next caller may try."""
    await subject.open()
    await asyncio.sleep(WAIT_S + LOOK_S)
    for _ in range(PROBES):
        await _cancelled(subject)
    return YES if await subject.reaches(_succeed) else "refuses"


async def stale_success(subject: Subject) -> str:
    """A call from before it opened succeeds while it is open."""
    gate = asyncio.Event()
    slow = subject.start(gate.wait)
    await asyncio.sleep(0)
    await subject.open()
    gate.set()
    await slow
    return "closes" if await subject.reaches(_succeed) else YES


async def stale_failures(subject: Subject) -> str:
    """Calls from before it opened fail when it has recovered."""
    gate = asyncio.Event()

    async def late() -> None:
        await gate.wait()
        raise Wrong

    slow = [subject.start(late) for _ in range(2 * THRESHOLD)]
    await asyncio.sleep(0)
    await subject.open()
    await subject.recover()
    gate.set()
    await asyncio.gather(*slow)
    return YES if await subject.reaches(_succeed) else "opens"


async def hanging_probes(subject: Subject) -> str:
    """Who tries first never comes back; the server is well meanwhile."""
    await subject.open()
    await asyncio.sleep(WAIT_S + LOOK_S)
    hang = asyncio.Event()
    hanging = [subject.start(hang.wait) for _ in range(CROWD)]
    await asyncio.sleep(LOOK_S)
    is_anybody_let_in = await subject.reaches(_succeed)
    verdict = "others pass" if is_anybody_let_in else "no"
    if not is_anybody_let_in:
        for _ in range(int(10 * WAIT_S / LOOK_S)):
            if await subject.reaches(_succeed):
                verdict = YES
                break
            await asyncio.sleep(LOOK_S)
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    return verdict


async def _cancelled(subject: Subject) -> None:
    task = subject.start(asyncio.Event().wait)
    await asyncio.sleep(LOOK_S)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


FAULTS: Mapping[str, Callable[[Subject], Awaitable[str]]] = {
    "opens by a rate": by_rate,
    f"of {CROWD} callers at half-open only the probes pass": crowd_at_half_open,
    "three cancelled calls change nothing": cancelled_calls,
    "a cancelled probe gives its permit back": cancelled_probes,
    "a success from before it opened changes nothing": stale_success,
    "failures from before it recovered change nothing": stale_failures,
    "a probe that hangs does not stop its recovery": hanging_probes,
}
"""By what a right breaker promises. The verdict "yes" says that it holds."""


# -- the contestants ----------------------------------------------------------------------------------------------


def holdfast() -> Through:
    options = BreakerOptions(
        calls_min=THRESHOLD, window_calls=10, failures_in_row=THRESHOLD, open_s=WAIT_S, jitter=0.0, probes=PROBES,
        probe_ttl_s=WAIT_S,
    )  # fmt: skip
    return CircuitBreaker("bench", options).call


def pybreaker() -> Through:
    breaker = importlib.import_module("pybreaker").CircuitBreaker(fail_max=THRESHOLD, reset_timeout=WAIT_S)

    async def call(work: Function) -> None:
        with breaker.calling():
            await work()

    return call


def aiobreaker() -> Through:
    breaker = importlib.import_module("aiobreaker").CircuitBreaker(
        fail_max=THRESHOLD, timeout_duration=datetime.timedelta(seconds=WAIT_S)
    )
    through: Through = breaker.call_async
    return through


def purgatory() -> Through:
    factory = importlib.import_module("purgatory").AsyncCircuitBreakerFactory(
        default_threshold=THRESHOLD, default_ttl=WAIT_S
    )

    async def call(work: Function) -> None:
        async with await factory.get_breaker("bench"):
            await work()

    return call


def circuitbreaker() -> Through:
    breaker = importlib.import_module("circuitbreaker").CircuitBreaker(
        failure_threshold=THRESHOLD, recovery_timeout=WAIT_S, name=f"bench {id(object())}"
    )

    async def run(work: Function) -> None:
        await work()

    through: Through = breaker(run)
    return through


def hyx() -> Through:
    breaker = importlib.import_module("hyx.circuitbreaker").consecutive_breaker(
        failure_threshold=THRESHOLD, recovery_time_secs=WAIT_S, recovery_threshold=PROBES
    )

    async def run(work: Function) -> None:
        await work()

    through: Through = breaker(run)
    return through


def interlock() -> Through:
    module = importlib.import_module("interlock")
    config = module.Config(
        minimum_number_of_calls=THRESHOLD, window_size=10, wait_duration_in_open=WAIT_S,
        permitted_calls_in_half_open=PROBES, max_concurrent_probes=PROBES,
    )  # fmt: skip
    through: Through = module.CircuitBreaker(name="bench", config=config).call_async
    return through


class Contestant(NamedTuple):
    make: Callable[[], Through]
    package: str = ""
    distribution: str = ""


CONTESTANTS: Mapping[str, Contestant] = {
    "holdfast": Contestant(holdfast),
    "pybreaker": Contestant(pybreaker, "pybreaker", "pybreaker"),
    "aiobreaker": Contestant(aiobreaker, "aiobreaker", "aiobreaker"),
    "purgatory": Contestant(purgatory, "purgatory", "purgatory"),
    "circuitbreaker": Contestant(circuitbreaker, "circuitbreaker", "circuitbreaker"),
    "hyx": Contestant(hyx, "hyx", "hyx"),
    "interlock-cb": Contestant(interlock, "interlock", "interlock-cb"),
}


async def verdicts(names: list[str]) -> dict[str, dict[str, str]]:
    """What came of each fault (by promise, then by contestant). All plays run side by side: each waits most of the
    time."""

    async def play(name: str, promise: str) -> str:
        try:
            async with asyncio.timeout(30 * WAIT_S):
                return await FAULTS[promise](Subject(CONTESTANTS[name].make()))
        except (AssertionError, TimeoutError) as error:
            return f"cannot be put to it: {error}" if str(error) else "hangs"

    plays = [(name, promise) for promise in FAULTS for name in names]
    found = await asyncio.gather(*(play(*each) for each in plays))
    told: dict[str, dict[str, str]] = {promise: {} for promise in FAULTS}
    for (name, promise), verdict in zip(plays, found, strict=True):
        told[promise][name] = verdict
    return told


def table(told: Mapping[str, Mapping[str, str]], names: list[str]) -> str:
    """The verdicts as a table of Markdown."""
    lines = ["| promise | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {promise} | " + " | ".join(found[name] for name in names) + " |" for promise, found in told.items()]
    return "\n".join(lines)


def main() -> None:
    """Play and print."""
    chosen = read_options(parser_of(__doc__ or "", rounds=1))
    names = [name for name, each in CONTESTANTS.items() if is_there(each.package)]
    told = asyncio.run(verdicts(names))
    peers = {name: importlib.metadata.version(CONTESTANTS[name].distribution) for name in names if name != "holdfast"}
    here = machine()
    report = {
        "benchmark": "breaker-faults", "python": here.python, "date": here.date,
        "command": "python -m benchmarks.bench_breaker_faults", "peers": peers, "wait_s": WAIT_S, "verdicts": told,
    }  # fmt: skip
    if chosen.save:
        (RESULTS / f"breaker-faults-{here.date}.json").write_text(json.dumps(report, indent=1) + "\n")
    if chosen.as_json:
        print(json.dumps(report))
        return
    print(", ".join(f"{name} {version}" for name, version in peers.items()))
    print(table(told, names))
    missing = [name for name in CONTESTANTS if name not in names]
    print(f"not installed: {', '.join(missing) or 'none'}")


if __name__ == "__main__":
    sys.exit(main())
