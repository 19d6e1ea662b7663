"""Memory and SQLite agree: what a simulation wrote is written once more to both, and every answer is compared."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import TypeVar

from holdfast.clock import seeded_randomness
from holdfast.errors import HoldfastError
from holdfast.store.contract.protocol import OpenStore
from holdfast.store.contract.records import Change
from holdfast.store.memory import MemoryStore
from holdfast.store.sqlite.store import SqliteStore
from holdfast.store.upkeep.copy import difference, histories, paired
from holdfast.testing.simulation.draws import Trouble
from holdfast.testing.simulation.loop import SimulatedLoop, simulated_loop
from holdfast.testing.simulation.referee import Answer, Call
from holdfast.testing.simulation.simulate import Report
from holdfast.testing.virtual_clock import VirtualClock

T = TypeVar("T")


def disagreements(
    report: Report,
    folder: Path,
    *,
    model: Callable[[VirtualClock], MemoryStore] = lambda clock: MemoryStore(clock=clock),
) -> list[str]:
    """What SQLite, in a new file in `folder`, answers differently from what the simulation was answered, and what it
    holds differently in the end; in words. Of a simulation in which bytes were flipped nothing can be said."""
    if report.seen[Trouble.FLIP]:
        return []
    loop = simulated_loop(seeded_randomness(report.plan.order))
    try:
        return loop.run_until_complete(_compared(report, folder / "simulated.db", loop, model))
    finally:
        loop.close()


async def _compared(
    report: Report, path: Path, loop: SimulatedLoop, open_model: Callable[[VirtualClock], MemoryStore]
) -> list[str]:
    clock = VirtualClock(0.0)
    model, store = open_model(clock), SqliteStore(path, clock=clock, executor=_LoopExecutor(loop))
    found: list[str] = []
    try:
        for call in report.calls:
            clock.advance_to(max(call.at, clock.time_s()))
            for place in (model, store):
                answer = await _answer(place, call)
                if answer != call.answer:
                    found.append(f"{place!r}: {call.asked}: expected {call.answer}, saw {answer}")
        pairs = [pair async for pair in paired(histories(model), histories(store)) if difference(pair) is not None]
        found += [f"memory holds {pair.source}, SQLite {pair.target}" for pair in pairs]
        found += map(str, (await store.verify()).problems)
    finally:
        await store.close()
        await model.close()
    return found


async def _answer(store: OpenStore, call: Call) -> Answer:
    try:
        if isinstance(call.asked, Change):
            return await store.commit(call.scope, call.asked)
        return tuple(await store.claim(call.scope, call.asked))
    except HoldfastError as error:
        return type(error).__name__


class _LoopExecutor(Executor):
    """Runs jobs in the simulated loop, each a drawn moment later."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def submit(self, fn: Callable[..., T], /, *args: object, **kwargs: object) -> Future[T]:
        future: Future[T] = Future()
        done = self._loop.run_in_executor(None, lambda: fn(*args, **kwargs))

        def tell(_: object) -> None:
            if (error := done.exception()) is not None:
                future.set_exception(error)
            else:
                future.set_result(done.result())

        done.add_done_callback(tell)
        return future
