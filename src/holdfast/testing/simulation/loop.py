"""An event loop in which chance decides what runs next, time passes by itself, and a process can lose its power.

Everything that is ready belongs to a strand: a task, or what else a process calls back. Chance draws the strand, and
within one the order stays, as asyncio promises it. Time stands still while anything is ready and then jumps to what is
due next. Nothing waits for real, and nothing runs in a thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import sys
import warnings
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar, TypeVarTuple, Unpack

from holdfast.clock import Randomness

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

STEPS_AT_ONE_TIME_MAX = 50_000
"""So many steps without any time passing are a loop that never ends."""
EXECUTOR_S_MAX = 0.02
"""The longest that a job of an executor is on its way, in virtual seconds."""


class Livelock(AssertionError):
    """Something runs for ever and lets no time pass."""


class Process:
    """One life of a simulated process: what its tasks, timers and callbacks belong to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.stalled_until_s = 0.0

    def __repr__(self) -> str:
        return f"Process({self.name}, dead={self.is_dead}, stalled_until_s={self.stalled_until_s:g})"


current_process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("current_process", default=None)


class _Task(asyncio.Task[Any]):
    """A task that stands in a set where its number puts it, so that a set of tasks has the same order in each run."""

    number = 0

    def __hash__(self) -> int:
        return self.number


class _Ready(NamedTuple):
    """Something to run, whose it is, and in which strand its turn comes."""

    handle: asyncio.Handle
    owner: Process | None
    strand: int

    @property
    def is_void(self) -> bool:
        return self.handle.cancelled() or (self.owner is not None and self.owner.is_dead)


class _Grave(NamedTuple):
    task: asyncio.Task[Any]
    coroutine: Coroutine[Any, Any, Any]
    owner: Process | None


def simulated_loop(chance: Randomness) -> SimulatedLoop:
    """A new loop. What it does not offer (sockets, signals, child processes) raises NotImplementedError."""
    return SimulatedLoop(chance)  # type: ignore[abstract]


class SimulatedLoop(asyncio.AbstractEventLoop):
    """Draws from `chance`; the same draws, the same run. `time()` begins at 0. For one thread."""

    def __init__(self, chance: Randomness) -> None:
        self._chance = chance
        self._now_s = 0.0
        self._ready: dict[int, deque[_Ready]] = {}
        self._scheduled: list[tuple[float, int, _Ready]] = []
        self._numbers = itertools.count()
        self._tasks: dict[asyncio.Task[Any], _Grave] = {}
        self._graves: list[_Grave] = []
        self._steps_here = 0
        self._is_running = self._is_stopping = self._is_closed = False
        self.steps = 0
        self.jobs = 0
        self.failures: list[str] = []

    # -- time, and what is ready --------------------------------------------------------------------------------

    def time(self) -> float:
        return self._now_s

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        self._check_open()
        handle = asyncio.Handle(callback, args, self, context)
        self._put(_item(handle, callback, context))
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        self._check_open()
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._scheduled, (when, next(self._numbers), _item(handle, callback, context)))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """asyncio tells its loop; here it is passed over when its time comes."""

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Runs in the loop, all at once, a drawn moment later: as a thread that is about to begin."""
        future: asyncio.Future[T] = self.create_future()

        def run() -> None:
            if future.cancelled():
                return
            self.jobs += 1
            try:
                result = func(*args)
            except Exception as error:  # of the job: it is for whoever waits
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_later(self._chance.random() * EXECUTOR_S_MAX, run)
        return future

    # -- running ------------------------------------------------------------------------------------------------

    def run_forever(self) -> None:
        self._check_open()
        if self._is_running:
            raise RuntimeError("simulated loop: it is running already")
        self._is_running, self._is_stopping = True, False
        asyncio._set_running_loop(self)
        before = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=self._asyncgen_firstiter_hook, finalizer=_let_go)
        try:
            while not self._is_stopping:
                self._run_one()
        finally:
            sys.set_asyncgen_hooks(*before)
            self._is_running = False
            asyncio._set_running_loop(None)

    def run_until_complete(self, future: Coroutine[Any, Any, T]) -> T:  # type: ignore[override]
        task = asyncio.Task(future, loop=self)
        task.add_done_callback(lambda _: self.stop())
        self.run_forever()
        if not task.done():
            raise RuntimeError("simulated loop: it was stopped before its work was done")
        return task.result()

    def stop(self) -> None:
        self._is_stopping = True

    def is_running(self) -> bool:
        return self._is_running

    def is_closed(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        """Forget everything, and let go of what the dead left behind."""
        self._is_closed = True
        self._ready.clear()
        self._scheduled.clear()
        _bury([*self._graves, *self._tasks.values()])
        self._graves.clear()
        self._tasks.clear()

    def _run_one(self) -> None:
        strand = self._drawn()
        while strand is None:
            self._pass_time()
            strand = self._drawn()
        item = self._ready[strand].popleft()
        if not self._ready[strand]:
            del self._ready[strand]
        if item.is_void:
            return
        self.steps += 1
        self._steps_here += 1
        if self._steps_here > STEPS_AT_ONE_TIME_MAX:
            raise Livelock(f"at {self._now_s:.3f} s: {STEPS_AT_ONE_TIME_MAX} steps and no time passed; {item.handle!r}")
        item.handle._run()

    def _drawn(self) -> int | None:
        """The strand that runs next; None where all of them must wait."""
        able = [strand for strand, items in self._ready.items() if not self._is_stalled(items[0])]
        if not able:
            return None
        return able[int(self._chance.random() * len(able))] if len(able) > 1 else able[0]

    def _pass_time(self) -> None:
        """Jump to what is due next, and make ready what is due then."""
        while self._scheduled and self._scheduled[0][2].is_void:
            heapq.heappop(self._scheduled)
        times = [items[0].owner.stalled_until_s for items in self._ready.values() if items[0].owner is not None]
        if self._scheduled:
            times.append(self._scheduled[0][0])
        if not times:
            raise RuntimeError("simulated loop: everybody waits for something that nothing will bring about")
        if (then := min(times)) > self._now_s:
            self._now_s, self._steps_here = then, 0
        while self._scheduled and self._scheduled[0][0] <= self._now_s:
            self._put(heapq.heappop(self._scheduled)[2])

    def _put(self, item: _Ready) -> None:
        if not item.is_void:
            self._ready.setdefault(item.strand, deque()).append(item)

    def _is_stalled(self, item: _Ready) -> bool:
        return item.owner is not None and not item.owner.is_dead and item.owner.stalled_until_s > self._now_s

    # -- tasks and processes ------------------------------------------------------------------------------------

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: contextvars.Context | None = None
    ) -> asyncio.Task[T]:
        self._check_open()
        task = _Task(coro, loop=self, name=name, context=context)
        task.number = next(self._numbers)
        self._tasks[task] = _Grave(
            task, coro, current_process.get() if context is None else context.get(current_process)
        )
        task.add_done_callback(self._ended)
        return task

    def cut_power(self, process: Process) -> list[str]:
        """`process` is no more: nothing of it runs again, no `finally`, no `except`. The names of the tasks it had."""
        process.is_dead = True
        gone = [each for each in self._tasks.values() if each.owner is process]
        for each in gone:
            del self._tasks[each.task]
        self._graves += gone
        return sorted(each.task.get_name() for each in gone)

    def tasks_of(self, process: Process) -> list[str]:
        """The names of the tasks that a process has, sorted."""
        return sorted(
            task.get_name() for task, each in self._tasks.items() if each.owner is process and not task.done()
        )

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)

    # -- what asyncio asks of a loop ----------------------------------------------------------------------------

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        """There is no debug mode: it would read a real clock."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.failures.append(f"{context.get('message')}: {context.get('exception')!r}")

    async def shutdown_asyncgens(self) -> None:
        return None

    async def shutdown_default_executor(self) -> None:
        return None

    def _asyncgen_firstiter_hook(self, agen: AsyncGenerator[Any, Any]) -> None:
        """Generators are ended by those who began them."""

    def _check_open(self) -> None:
        if self._is_closed:
            raise RuntimeError("Event loop is closed")

    def __repr__(self) -> str:
        return f"SimulatedLoop({self._now_s:.3f} s, steps={self.steps}, tasks={len(self._tasks)})"


def _let_go(agen: AsyncGenerator[Any, Any]) -> None:
    """A generator that is collected belonged to a process which lost its power: it has no last words. What it waits for
    ends with it and may have some, which Python would print: closing a task closes no generator that it is in."""
    awaited = getattr(agen, "ag_await", None)
    if isinstance(awaited, Coroutine):
        with suppress(RuntimeError):  # it reaches for a loop that is closed
            awaited.close()


def _owner_in(context: contextvars.Context | None) -> Process | None:
    return current_process.get() if context is None else context.get(current_process)


def _item(handle: asyncio.Handle, callback: Callable[..., object], context: contextvars.Context | None) -> _Ready:
    owner = _owner_in(context)
    task = getattr(callback, "__self__", None)
    return _Ready(handle, owner, id(task) if isinstance(task, asyncio.Task) else -id(owner))


def _bury(graves: list[_Grave]) -> None:
    """Let go of coroutines that were cut off. Python runs what their `finally` says now, when all is judged and the
    loop is closed: it reaches nobody, and what it complains of is nobody's fault."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for task, coroutine, _ in graves:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            try:
                coroutine.close()
            except BaseException:  # whatever the last words of the dead are
                continue
