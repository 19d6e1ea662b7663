"""The cache generation as this process knows it: re-read from the truth before it is older than promised."""

from __future__ import annotations

import asyncio
from typing import Protocol

from holdfast.clock import monotonic_s
from holdfast.errors import HoldfastError
from holdfast.store.mirror.rules import Promise
from holdfast.store.writing.background import Background


class Generations(Protocol):
    """What is asked of the truth: PostgreSQL keeps the number, so that whoever can commit can raise it."""

    async def generation(self) -> int: ...

    async def raise_generation(self) -> int: ...


class Generation:
    """`known` is what was read last; 0 before. Whoever waits for a read waits for the same one."""

    def __init__(self, truth: Generations, background: Background, promise: Promise) -> None:
        self._truth = truth
        self._background = background
        self._promise = promise
        self._asked_at_s: float | None = None
        self._reading: asyncio.Task[None] | None = None
        self._began_at_s = 0.0
        self.known = 0

    async def fresh(self) -> int:
        """The generation, read no longer ago than `generation_every_s`.

        Where the truth does not answer in time it is the one known before: what is cached is old at worst, not wrong.
        """
        if self.is_stale:
            reading = self._refresh()
            left_s = self._began_at_s + self._promise.generation_wait_s - monotonic_s()
            if reading is not None and left_s > 0:
                await asyncio.wait([reading], timeout=left_s)
        return self.known

    @property
    def is_stale(self) -> bool:
        """Whether it is time to read it again."""
        age_s = None if self._asked_at_s is None else monotonic_s() - self._asked_at_s
        return age_s is None or age_s >= self._promise.generation_every_s

    def refresh(self) -> None:
        """Read it in the background, if it is time to: for those who only write."""
        if self.is_stale:
            self._refresh()

    async def read(self) -> int:
        """The generation now. Raises the truth's errors."""
        asked_at_s = monotonic_s()
        self._learn(await self._truth.generation(), asked_at_s)
        return self.known

    async def raised(self) -> int:
        """Raise it; the new one. Raises the truth's errors."""
        asked_at_s = monotonic_s()
        self._learn(await self._truth.raise_generation(), asked_at_s)
        return self.known

    def _refresh(self) -> asyncio.Task[None] | None:
        """The read that is under way on this loop, or a new one; None where none can be begun any more."""
        reading = self._reading
        if reading is None or reading.done() or reading.get_loop() is not asyncio.get_running_loop():
            self._began_at_s = monotonic_s()
            reading = self._reading = self._background.start(self._read_or_keep(), name="generation")
        return reading

    async def _read_or_keep(self) -> None:
        try:
            await self.read()
        except HoldfastError:
            self._asked_at_s = monotonic_s()  # asked in vain: not again at once

    def _learn(self, generation: int, asked_at_s: float) -> None:
        if self._asked_at_s is None or asked_at_s >= self._asked_at_s:
            self.known, self._asked_at_s = generation, asked_at_s

    def __repr__(self) -> str:
        return f"Generation({self.known})"
