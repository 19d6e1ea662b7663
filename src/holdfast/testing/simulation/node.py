"""One simulated machine: an engine with a store handle, a clock and chance of its own, which may lose its power."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

from holdfast.clock import Randomness
from holdfast.errors import HoldfastError
from holdfast.store.contract.protocol import Store
from holdfast.tasks import Supervisor
from holdfast.testing.faulty_store import Fault, FaultyStore
from holdfast.testing.simulation.desk import Desk
from holdfast.testing.simulation.draws import Trouble
from holdfast.testing.simulation.loop import Process, SimulatedLoop, current_process
from holdfast.testing.virtual_clock import START_S
from holdfast.workflow.engine import Engine
from holdfast.workflow.model.workflow import Workflow

T = TypeVar("T")

PAUSE_S_MAX = 2.0
"""The longest that a slow call is on its way, in virtual seconds."""
BOOT_AGAIN_S = 0.5
LOOK_S = 0.05
STORE_FAULTS = {
    Trouble.LATENCY: Fault.DELAY,
    Trouble.LATE_ANSWER: Fault.LATE,
    Trouble.REFUSE: Fault.REFUSE,
    Trouble.LOSE_BEFORE: Fault.LOSE_BEFORE,
    Trouble.LOSE_AFTER: Fault.LOSE_AFTER,
    Trouble.STALE: Fault.STALE,
    Trouble.MISS: Fault.MISS,
    Trouble.REPEAT: Fault.REPEAT,
}


class NodeDown(Exception):
    """The node lost its power, or has not booted: nobody knows what came of the call."""


class SimulatedClock:
    """The loop's time as wall time, `skew_s` seconds wrong."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.skew_s = 0.0

    def time_s(self) -> float:
        return START_S + self._loop.time() + self.skew_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def __repr__(self) -> str:
        return f"SimulatedClock({self.time_s():.3f}, skew_s={self.skew_s:g})"


class Node:
    """Node `number`, working on `store` with an engine of the workflows that `make` gives, each life of it with new
    ones; and with a desk, where somebody furnishes one."""

    def __init__(
        self,
        number: int,
        loop: SimulatedLoop,
        store: Store,
        make: Callable[[], Sequence[Workflow]],
        chance: Randomness,
        *,
        engine: Callable[..., Engine],
        places: int,
        furnish: Callable[[Store, SimulatedClock, Randomness], Desk] | None = None,
    ) -> None:
        self.number = number
        self.clock = SimulatedClock(loop)
        self.store = FaultyStore(store, chance=chance, pause=self._pause, stale_reads=("read_recent",))
        self.engine: Engine | None = None
        self.desk: Desk | None = None
        self.problems: list[str] = []
        self.lives = 0
        self._loop = loop
        self._make = make
        self._chance = chance
        self._engine = engine
        self._places = places
        self._furnish = furnish
        self._calls: dict[asyncio.Future[object], None] = {}
        self._wants_end = asyncio.Event()
        self._grace_s: float | None = None
        self._life: asyncio.Task[None] | None = None
        self._process: Process | None = None
        self._context = contextvars.Context()
        self._tasks = Supervisor(f"node {number}", on_failure=self._failed)

    @property
    def process_id(self) -> str:
        """What its engine is called in the store, "" while it is down."""
        return "" if self.engine is None else self.engine.inside.runtime.process_id

    @property
    def is_running(self) -> bool:
        """Whether it is its code that runs now."""
        return self._process is not None and current_process.get() is self._process

    @property
    def is_up(self) -> bool:
        """Whether its engine is open, and not to be closed as soon as its node goes on."""
        return self.engine is not None and not self._wants_end.is_set()

    def boot(self) -> None:
        """Begin a new life, if it has none; its engine opens as soon as the store lets it."""
        if self._process is not None:
            return
        self.lives += 1
        self._process = Process(f"node {self.number} life {self.lives}")
        self._context = contextvars.Context()
        self._context.run(current_process.set, self._process)
        self._wants_end = asyncio.Event()
        self._grace_s = None
        self._tasks = Supervisor(f"node {self.number}", on_failure=self._failed)
        self._life = self._context.run(self._tasks.start, self._live(), name="life")

    def crash(self) -> None:
        """Cut its power: no `finally` of it runs, and whoever called it hears nothing more."""
        if self._process is not None:
            self._loop.cut_power(self._process)
            self._over()

    def stall(self, until_s: float) -> None:
        """Let nothing of it run until then (the loop's time)."""
        if self._process is not None:
            self._process.stalled_until_s = until_s

    def wake(self) -> None:
        """Let it go on, if it stands still."""
        if self._process is not None:
            self._process.stalled_until_s = 0.0

    async def drain(self, grace_s: float) -> None:
        """Let its runs go in good order, for up to so many seconds, and close; or until its power is cut."""
        self._grace_s = grace_s
        await self.end()

    async def end(self) -> None:
        """Close its engine in good order, unless its power is cut before; what is left over then is a problem."""
        process, life = self._process, self._life
        if process is None or life is None:
            return
        self._wants_end.set()
        while not (life.done() or process.is_dead):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)
        if self._process is process:
            self._over()
            await asyncio.sleep(LOOK_S)  # in which those who called hear of it
            self.problems += [f"task left over: {name}" for name in self._loop.tasks_of(process)]

    async def call(self, work: Callable[[Engine], Awaitable[T]]) -> T:
        """What `work` gives, done on this node. Raises what it raises; NodeDown where the node is no more."""
        if self.engine is None:
            raise NodeDown(f"node {self.number}: it is down")
        told: asyncio.Future[object] = self._loop.create_future()
        self._calls[told] = None
        task = self._context.run(self._tasks.start, self._answer(work, self.engine, told), name="call")
        try:
            return await told  # type: ignore[return-value]
        finally:
            self._calls.pop(told, None)
            task.cancel()

    async def _answer(
        self, work: Callable[[Engine], Awaitable[T]], engine: Engine, told: asyncio.Future[object]
    ) -> None:
        try:
            result = await work(engine)
        except (Exception, asyncio.CancelledError) as error:  # it is for whoever called
            if not told.done():
                is_end = isinstance(error, asyncio.CancelledError)
                told.set_exception(NodeDown(f"node {self.number}: it was closed meanwhile") if is_end else error)
        else:
            if not told.done():
                told.set_result(result)

    async def _live(self) -> None:
        while not self._wants_end.is_set():
            engine = self._engine(
                self.store, *self._make(), clock=self.clock, randomness=self._chance, runs_max=self._places
            )
            try:
                async with AsyncExitStack() as stack:
                    if self._furnish is not None:
                        self.desk = self._furnish(self.store, self.clock, self._chance)
                        await stack.enter_async_context(self.desk)
                    await stack.enter_async_context(engine)
                    self.engine = engine
                    await self._wants_end.wait()
                    self.engine = None
                    told = [item for item in engine.inside.problems.items() if not item[0].startswith("schedule ")]
                    self.problems += [f"{what}: {words}" for what, words in told]  # a schedule's are of the moment
                    if self._grace_s is not None:
                        await engine.drain(grace_s=self._grace_s)
            except HoldfastError:
                await asyncio.sleep(BOOT_AGAIN_S)  # as a process manager starts again what could not begin
            finally:
                self.engine = self.desk = None

    def _over(self) -> None:
        self._process = self._life = self.engine = self.desk = None
        for told in tuple(self._calls):
            if not told.done():
                told.set_exception(NodeDown(f"node {self.number}: it lost its power"))

    def _failed(self, name: str, error: BaseException) -> None:
        self.problems.append(f"{name}: {error!r}")

    async def _pause(self) -> None:
        await asyncio.sleep(self._chance.random() * PAUSE_S_MAX)

    def __repr__(self) -> str:
        return f"Node({self.number}, lives={self.lives}, up={self.is_up})"
