"""A broker, a store and worker processes for a test."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from holdfast import RunHandle
from tests.integrations.celery.programs.shop import gate, shop

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 60.0
"""How long anything may take before the test says what it waited for."""


class Line(NamedTuple):
    """A handler was at work."""

    what: str
    run: str
    pid: int


class Stage:
    """`folder` holds the store, unless there is another one, and the ledger; the broker's queues are its own."""

    def __init__(
        self,
        folder: Path,
        broker: str,
        *,
        store: str | None = None,
        runs_max: int = 100,
        drain_s: float = 20,
        patience_s: float = 1,
    ) -> None:
        self.store = store or f"sqlite:///{folder}/shop.db"
        self._ledger = folder / "ledger"
        self._log = folder / "worker.log"
        self._environ = {
            "SHOP_BROKER": broker,
            "SHOP_STORE": self.store,
            "SHOP_LEDGER": str(self._ledger),
            "SHOP_RUNS_MAX": str(runs_max),
            "SHOP_DRAIN_S": str(drain_s),
            "SHOP_PATIENCE_S": str(patience_s),
        }
        self.app, self.executor = shop(self._environ)

    @contextmanager
    def worker(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """A Celery worker; it is shut down in order in the end, and must do so without an error."""
        command = [sys.executable, "-m", "celery", "-A", "tests.integrations.celery.programs.worker", "worker"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "INFO"]
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [*command, *quiet, *options], cwd=ROOT, env=os.environ | self._environ, stdout=log, stderr=log
            )
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            code = process.wait(LIMIT_S)
            assert code == 0, f"worker ended with {code}: {self.log}"
        finally:
            process.kill()
            process.wait(LIMIT_S)

    @property
    def log(self) -> str:
        """What the workers have printed."""
        return self._log.read_text() if self._log.exists() else ""

    def lines(self, what: str, run: str) -> list[Line]:
        """How often a handler was at work on a run, and in which processes."""
        text = self._ledger.read_text() if self._ledger.exists() else ""
        lines = [Line(parts[0], parts[1], int(parts[2])) for parts in map(str.split, text.splitlines())]
        return [line for line in lines if (line.what, line.run) == (what, run)]

    def open(self, run: str) -> None:
        """Let a run's handler go on."""
        gate(self._ledger, run).touch()

    def deliver(self, run: RunHandle) -> None:
        """One more message about a run."""
        args = (run.id, run.run.user, run.run.tenant)
        self.app.send_task("holdfast.take_up", args=args, queue="holdfast")

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Until `holds`; fails after LIMIT_S."""
        limit = time.monotonic() + LIMIT_S
        while not holds():
            assert time.monotonic() < limit, f"no {what} within {LIMIT_S:g} s: {self.log[-4000:]}"
            await asyncio.sleep(0.02)

    async def until_lines(self, what: str, run: str, count: int = 1) -> list[Line]:
        """Until a handler was at work on a run so often."""
        await self.until(lambda: len(self.lines(what, run)) >= count, f"{count} lines of {what} for {run}")
        return self.lines(what, run)
