"""The bot's worker as a process of its own: started, watched, and started again when it dies."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from holdfast import SystemClock, Unavailable
from holdfast_sre.files import in_thread

FAULTS = "HOLDFAST_FAULTS"
STOP_GRACE_S = 5.0
STARTS_MAX = 5
LOG_TAIL_CHARS = 2_000


class Worker:
    """Runs `holdfast-sre serve` on a workspace. What it prints goes to `worker.log` there."""

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._log = workspace / "worker.log"
        self._process: asyncio.subprocess.Process | None = None
        self._clock = SystemClock()
        self.started_at_s = 0.0
        self.starts = 0

    @property
    def pid(self) -> int:
        """The process id of the last start; 0 before."""
        return self._process.pid if self._process is not None else 0

    async def start(self, *, faults: str = "") -> None:
        """Start it. `faults` plants faults by name, such as the SIGKILL of the demo.

        Raises Unavailable, with the end of its log, when it died STARTS_MAX times.
        """
        if self.starts >= STARTS_MAX:
            raise Unavailable(f"the worker ended {self.starts} times; its log ends with:\n{await self.log_tail()}")
        environment = {name: value for name, value in os.environ.items() if name != FAULTS}
        if faults:
            environment[FAULTS] = faults
        log = await in_thread(self._log.open, "ab")
        try:
            self.started_at_s = self._clock.time_s()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "holdfast_sre", "serve", str(self._workspace),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                process_group=0,  # Ctrl-C is for whoever watches, who then ends it in order
            )  # fmt: skip
        finally:
            log.close()
        self.starts += 1

    async def ended(self) -> str:
        """Wait until it ends; how, in words."""
        assert self._process is not None
        code = await self._process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit status {code}"

    async def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(STOP_GRACE_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def log_tail(self) -> str:
        """The end of what it printed."""
        text = await in_thread(self._log.read_text, errors="replace") if self._log.exists() else ""
        return text[-LOG_TAIL_CHARS:]
