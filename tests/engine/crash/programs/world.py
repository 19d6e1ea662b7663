"""What all programs share: a plan given by the test, the ledger, bodies that can be held up, and the main loop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from holdfast import Engine, Workflow
from holdfast.clock import SystemClock
from tests.engine.crash.ledger import Ledger

USER = "ana"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a test wants of a program. `starts`: so many runs T-0, T-1, ...; `awaits`: until so many of them have ended.

    `holds`: effects whose bodies wait for a line on stdin after they have written to the ledger. `shift_s`: how far
    the program's clock is ahead. `stays`: it ends when stdin is closed, not before. `dies`: by SIGKILL, right after
    the last `start` returned. `waits`: it opens its engine after a first line on stdin. `sweeps`: it asks for so many
    recoveries beside the continuous one. `engine`: options of the engine.
    """

    url: str
    ledger: str
    starts: int = 0
    awaits: int = 0
    holds: tuple[str, ...] = ()
    shift_s: float = 0.0
    stays: bool = False
    dies: bool = False
    waits: bool = False
    sweeps: int = 0
    engine: dict[str, Any] = {}


class ShiftedClock(SystemClock):
    """The machine's clock, some seconds ahead: how a process wakes up past a deadline without anybody waiting."""

    def __init__(self, shift_s: float) -> None:
        self._shift_s = shift_s

    def time_s(self) -> float:
        return super().time_s() + self._shift_s


class World:
    """One program's view of the outside."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.ledger = Ledger(Path(plan.ledger))
        self._go = asyncio.Event()
        self._over = asyncio.Event()

    @classmethod
    def of_arguments(cls) -> World:
        """The world of the plan that the test gave on the command line."""
        return cls(msgspec.json.decode(sys.argv[1], type=Plan))

    async def act(self, what: str, *, key: str) -> str:
        """An effect: one line in the ledger; held up afterwards where the plan says so."""
        self.ledger.add(what, key)
        if what in self.plan.holds:
            await self._go.wait()
        return what

    async def rest(self, what: str) -> None:
        """A handler lets go of the loop between its steps; held up where the plan says so."""
        await asyncio.sleep(0)
        if what in self.plan.holds:
            await self._go.wait()

    def play(self, *workflows: Workflow, then: Callable[[Engine], Awaitable[None]] | None = None) -> None:
        """Run the plan with the first workflow, until all awaited runs have ended and `then` is done."""
        asyncio.run(self.playing(*workflows, then=then))

    async def playing(self, *workflows: Workflow, then: Callable[[Engine], Awaitable[None]] | None = None) -> None:
        """As `play`, in a loop that runs."""
        hears = asyncio.get_running_loop().create_task(self._hear(), name="stdin")
        if self.plan.waits:
            self.ledger.add("ready")
            await self._go.wait()
        clock = ShiftedClock(self.plan.shift_s)
        async with Engine(self.plan.url, *workflows, clock=clock, **self.plan.engine) as engine:
            self.ledger.add("open")
            for number in range(self.plan.starts):
                await engine.start(workflows[0].name, {"number": number}, id=f"T-{number}", user=USER)
            self.ledger.add("started")
            if self.plan.dies:
                os.kill(os.getpid(), signal.SIGKILL)
            for _ in range(self.plan.sweeps):
                await engine.recover_active_workflows()
            self.ledger.add("swept")
            if then is not None:
                await then(engine)
            for number in range(self.plan.awaits):
                run = await engine.get(f"T-{number}", user=USER)
                await run.result()
            self.ledger.add("finished")
            if self.plan.stays:
                await self._over.wait()
        hears.cancel()

    async def _hear(self) -> None:
        """The first line on stdin lets held bodies go on; its end lets a program that stays end."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while await reader.readline():
            self._go.set()
        self._over.set()
