"""The lab: the real engine in memory under a virtual clock, so that a wait of days is over in a moment.

Nothing is faked but time, chance and threads' timing: the same actors, rules, journal and recovery run as in
production. A test starts runs, lets the engine settle, moves time, and looks.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any

from holdfast.clock import parse_duration_s, seeded_randomness
from holdfast.codec import PAYLOAD_BYTES_MAX
from holdfast.errors import InvalidInput
from holdfast.store.contract.protocol import Store
from holdfast.store.memory import MemoryStore
from holdfast.store.wrapping.seal import SEALED_BYTES_MAX
from holdfast.testing.virtual_clock import Gate, VirtualClock
from holdfast.testing.watched import InTurnExecutor, WatchedStore
from holdfast.workflow.client import Client
from holdfast.workflow.engine import Engine
from holdfast.workflow.handle import RunHandle
from holdfast.workflow.model.workflow import Workflow

CALM_TURNS = 5
"""Turns of the loop in which nothing may move until it counts as settled: call-backs take one or two to show."""
OUTSIDE_PAUSE_S = 0.0005
"""Real seconds between two looks at work that runs outside the loop."""
PATIENCE_S = 10.0


class Lab:
    """An engine on a store of its own, under a virtual clock, for one test.

    `user`: whose runs these are. `store`: another one than memory, opened with the same `clock`; the test closes it.
    `seed` draws ids and jitter: the same seed, the same run. `is_cold`: nothing is cached. `patience_s`: real seconds
    that `settle` waits for work outside the loop. Further options go to the `Engine`.

    Example::

        async with Lab(wf, user="ana") as lab:
            run = await lab.start("incident", {"text": "..."})
            await lab.skip("48h")
            assert (await run.refresh()).state == "escalated"
    """

    def __init__(
        self,
        *workflows: Workflow,
        user: str = "tester",
        store: Store | None = None,
        clock: VirtualClock | None = None,
        seed: int = 0,
        is_cold: bool = False,
        patience_s: float = PATIENCE_S,
        **options: Any,
    ) -> None:
        if store is not None and clock is None:
            raise InvalidInput("lab: a store of your own needs clock=, the VirtualClock that it was opened with")
        self.clock = clock or VirtualClock()
        self.user = user
        self.store: Store = (
            store
            if store is not None
            else MemoryStore(
                clock=self.clock, payload_bytes_max=SEALED_BYTES_MAX if options.get("codec") else PAYLOAD_BYTES_MAX
            )
        )
        self._watched = WatchedStore(self.store)
        self._is_store_ours = store is None
        self._workflows = workflows
        self._patience_s = patience_s
        self._options = {"is_cold": is_cold, **options}
        self._randomness = seeded_randomness(seed)
        self._exit = AsyncExitStack()
        self._executor = InTurnExecutor()
        self._engine: Engine | None = None

    async def __aenter__(self) -> Lab:
        self._exit.callback(self._executor.shutdown)
        if self._is_store_ours:
            self._exit.push_async_callback(self.store.close)
        self._exit.push_async_callback(self._close_engine)
        try:
            await self._open_engine()
        except BaseException:
            await self._exit.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exit.aclose()

    # -- doing --------------------------------------------------------------------------------------------------

    @property
    def engine(self) -> Engine:
        """The engine that runs now; another one after `restart`."""
        assert self._engine is not None, "the lab is closed; use `async with Lab(...) as lab`"
        return self._engine

    @property
    def client(self) -> Client:
        """The door of the lab's user."""
        return self.engine.client(self.user)

    async def start(self, workflow: str, input: Any = None, *, id: str | None = None, **options: Any) -> RunHandle:
        """Start a run for the lab's user. See `Client.start`."""
        return await self.client.start(workflow, input, id=id, **options)

    async def restart(self, *workflows: Workflow, **options: Any) -> Engine:
        """Close the engine in good order and open another one on the same store, with other code or options if given.

        Handlers at work are cancelled and begin a new attempt at what had no memo. Handles of before must be got anew.
        Raises what opening the engine raises; the lab then has no engine until the next `restart`.
        """
        self._workflows = workflows or self._workflows
        self._options |= options
        await self._close_engine()
        await self._open_engine()
        return self.engine

    def gate(self) -> Gate:
        """A gate for handlers to wait at; `settle` takes who waits there as settled."""
        return Gate(self.clock)

    # -- time ---------------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Until nothing moves any more unless time passes or somebody does something.

        Threads, calls to the store and handlers that wait for anything but the virtual clock or a gate count as
        moving. Raises TimeoutError, naming them, when that takes longer than `patience_s` real seconds.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience_s
        calm = 0
        while calm < CALM_TURNS:
            await asyncio.sleep(0)
            if _is_any_task_runnable():
                calm = 0
                continue
            moving = self._moving()
            if not moving:
                calm += 1
                continue
            if loop.time() > until:
                raise TimeoutError(
                    f"lab: not settled after {self._patience_s:g} s; still moving: {', '.join(moving)}. A handler that "
                    "is to wait for the test waits at `lab.gate()`; one that waits for time sleeps on `lab.clock`"
                )
            calm = 0
            await asyncio.sleep(OUTSIDE_PAUSE_S)

    async def skip(self, duration: str | float) -> None:
        """Let virtual time pass ("48h", "90s", or seconds), stopping at every due time on the way to settle."""
        target = self.clock.time_s() + parse_duration_s(duration)
        await self.settle()
        while (due := self.clock.next_due_s) is not None and due <= target:
            self.clock.advance_to(max(due, self.clock.time_s()))
            await self.settle()
        self.clock.advance_to(target)
        await self.settle()

    # -- looking ------------------------------------------------------------------------------------------------

    @property
    def calls(self) -> Counter[str]:
        """How often the engine called each method of its store."""
        return self._watched.calls

    @property
    def handlers(self) -> list[str]:
        """The visits whose handlers are at work now; a waiting run has none."""
        return self.engine.inside.crew.handlers()

    def _moving(self) -> list[str]:
        """What runs outside the loop, or in a handler, and is not known to wait for time or the test."""
        handlers = self.handlers if self._engine is not None else []
        moving = [f"handler {name}" for name in handlers if not self.clock.has_asleep(name)]
        if self._executor.under_way:
            moving.append(f"{self._executor.under_way} sync functions in threads")
        if (calls := self._watched.under_way - self.clock.asleep_in_store) > 0:
            moving.append(f"{calls} calls to the store")
        return moving

    async def _open_engine(self) -> None:
        engine = Engine(
            self._watched,
            *self._workflows,
            clock=self.clock,
            randomness=self._randomness,
            executor=self._executor,
            **self._options,
        )
        self._engine = await engine.__aenter__()

    async def _close_engine(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.close()

    def __repr__(self) -> str:
        return f"Lab({self._engine!r}, {self.clock!r})"


def _is_any_task_runnable() -> bool:
    """Whether some other task of this loop could go on by itself: it waits for no future, or for one that is done.

    asyncio has no public name for what a task waits for; the attribute is the same in its Python and C tasks.
    """
    me = asyncio.current_task()
    return any(
        (waiter := getattr(task, "_fut_waiter", None)) is None or waiter.done()
        for task in asyncio.all_tasks()
        if task is not me
    )
