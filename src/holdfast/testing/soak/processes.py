"""The processes of a soak: started, killed, made to stand still, ended; and what each of them has open."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from holdfast.testing.soak.growth import Sample
from holdfast.testing.soak.options import Plan, live_file

MIB = 1 << 20


class Place:
    """One place for a process: whoever is killed here is replaced. `plan_of` gives the plan of the process of a name.

    `is_kept`: the process is never killed, so that it can be seen to stay small.
    """

    def __init__(self, number: int, folder: Path, plan_of: Callable[[str], Plan], *, is_kept: bool) -> None:
        self.number = number
        self.is_kept = is_kept
        self._folder = folder
        self._plan_of = plan_of
        self._generation = 0
        self._process: asyncio.subprocess.Process | None = None
        self._is_told = False
        self.codes: dict[str, int] = {}
        """How each process of this place that is gone has ended."""

    @property
    def name(self) -> str:
        """The name of the process that is here now."""
        return f"{self.number}.{self._generation}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start a process."""
        plan = msgspec.json.encode(self._plan_of(self.name)).decode()
        command = [sys.executable, "-m", "holdfast.testing.soak.worker", plan]
        with (self._folder / f"process-{self.name}.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log
            )
        self._is_told = False

    async def kill(self) -> None:
        """SIGKILL; another process takes the place."""
        await self._killed()
        await self.replace()

    async def replace(self) -> None:
        """Start another process where one has ended."""
        self._generation += 1
        await self.start()

    def stop(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    async def calm(self) -> None:
        """It starts no more runs."""
        await self._tell(b"calm\n")

    async def finish(self, timeout_s: float) -> bool:
        """Let it end in order; whether it did so in time."""
        if self._process is None:
            return True
        self._is_told = True
        await self._tell(b"calm\n")
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(timeout_s):
                self.codes[self.name] = await self._process.wait()
        except TimeoutError:
            await self._killed()
            return False
        return True

    async def abandon(self) -> None:
        """End it in any way."""
        if self.is_alive:
            self.go_on()
            await self._killed()

    def note_end(self) -> bool:
        """Whether the process has ended although nobody told it to."""
        if self._process is None or self._process.returncode is None or self._is_told:
            return False
        self.codes[self.name] = self._process.returncode
        return True

    def sample(self, at_s: float) -> Sample | None:
        """What the process has now; None where the machine does not tell."""
        files = Path(f"/proc/{self.pid}/fd")
        with contextlib.suppress(OSError, ValueError, IndexError):
            kinds = [_target_of(file) for file in files.iterdir()]
            pages = int(Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1])
            memory_mib = pages * os.sysconf("SC_PAGE_SIZE") / MIB
            sockets = sum(kind.startswith("socket:") for kind in kinds)
            return Sample(self.name, at_s, memory_mib, len(kinds), sockets, self._live())
        return None

    def _live(self) -> int:
        """How many runs it works on, as it told last; 0 where it has not yet."""
        with contextlib.suppress(OSError, ValueError):
            return int(live_file(self._folder, self.name).read_text("ascii"))
        return 0

    async def _killed(self) -> None:
        assert self._process is not None
        self._is_told = True
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self.codes[self.name] = await self._process.wait()

    async def _tell(self, word: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(word)
            await self._process.stdin.drain()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def __repr__(self) -> str:
        return f"Place({self.name}, is_alive={self.is_alive})"


def _target_of(file: Path) -> str:
    try:
        return os.readlink(file)
    except OSError:
        return ""
