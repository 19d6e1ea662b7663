"""Programs as processes of their own: started with a plan and fault points, waited for, killed, stopped."""

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
from typing import Any, NoReturn

import msgspec
import pytest

from holdfast import faults
from tests.engine.crash.ledger import Ledger, Line
from tests.engine.crash.programs.world import Plan

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 45.0
"""How long anything may take before the test says what it waited for."""
LOOK_S = 0.005
FILE = "sqlite:///"
ON_SQLITE = pytest.mark.parametrize("stage", ["sqlite"], indirect=True)
"""For what is about one file and those who share it."""
ON_POSTGRES = pytest.mark.parametrize("stage", ["postgresql"], indirect=True)
"""For what is about a server that several transactions write to at a time."""


class Process:
    """One running program."""

    def __init__(self, process: subprocess.Popen[bytes], ledger: Ledger, output: Path) -> None:
        self._process = process
        self._ledger = ledger
        self._output = output

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def said(self) -> str:
        """The end of what it has printed."""
        return self._output.read_text("utf-8", "replace")[-4000:]

    def until_line(self, what: str, *, count: int = 1) -> list[Line]:
        """Until this process has written `count` lines of `what` to the ledger."""
        self.until(lambda: len(self._ledger.lines(what, pid=self.pid)) >= count, f"{count} lines of {what!r}")
        return self._ledger.lines(what, pid=self.pid)

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Until `holds`; fails if the process ends before, or after LIMIT_S."""
        limit = time.monotonic() + LIMIT_S
        while not holds():
            if self._process.poll() is not None and not holds():
                self._fail(f"ended with {self._process.returncode} before {what}")
            if time.monotonic() > limit:
                self._fail(f"no {what} within {LIMIT_S:g} s")
            time.sleep(LOOK_S)

    def let_go(self) -> None:
        """Held bodies go on."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL, now."""
        self._process.kill()
        self._process.wait(LIMIT_S)

    def stop(self) -> None:
        """SIGSTOP; returns when it stands still."""
        os.kill(self.pid, signal.SIGSTOP)
        self.until_stopped()

    def until_stopped(self) -> None:
        """Until the process stands still, by whatever made it."""
        self.until(lambda: _state_of(self.pid) == "T", "standstill")

    def go_on(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def until_killed(self) -> None:
        """Until a fault point has killed the process."""
        code = self._wait()
        if code != -signal.SIGKILL:
            self._fail(f"expected to be killed by its fault point, but it ended with {code}")

    def until_ended(self) -> int:
        """Until the process has ended by itself; its exit code."""
        return self._wait()

    def finish(self) -> None:
        """Close its stdin and wait until it has ended well."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = self._wait()
        if code != 0:
            self._fail(f"expected to end well, but it ended with {code}")

    def abandon(self) -> None:
        """End it in any way; for leaving a test."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(LIMIT_S)
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _wait(self) -> int:
        try:
            return self._process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            self._fail(f"not ended within {LIMIT_S:g} s")

    def _fail(self, why: str) -> NoReturn:
        raise AssertionError(f"process {self.pid}: {why}; {self._ledger!r:.2000}; it said:\n{self.said}")


class Stage:
    """One test's store and ledger, and the programs that use them."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self.ledger = Ledger(folder / "ledger")
        self.folder = folder
        self._processes: list[Process] = []

    def start(self, program: str, *, fault: str = "", **plan: Any) -> Process:
        """A process of `programs/<program>.py`. `fault`: as in HOLDFAST_FAULTS; the rest as in `Plan`."""
        text = msgspec.json.encode(Plan(url=self.url, ledger=str(self.folder / "ledger"), **plan)).decode()
        output = self.folder / f"output-{len(self._processes)}"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", f"tests.engine.crash.programs.{program}", text],
                cwd=ROOT,
                env={**os.environ, faults.VARIABLE: fault},
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        started = Process(process, self.ledger, output)
        self._processes.append(started)
        return started

    @property
    def file(self) -> Path:
        """The file of a store on SQLite."""
        assert self.url.startswith(FILE), f"{self.url} is no file; the test says @ON_SQLITE"
        return Path(self.url.removeprefix(FILE))

    def run(self, program: str, **plan: Any) -> None:
        """Start a program and wait until it has ended well."""
        self.start(program, **plan).finish()

    def close(self) -> None:
        """End whatever still runs."""
        for process in self._processes:
            process.abandon()


async def until(holds: Callable[[], bool], what: str) -> None:
    """Until `holds`, in this process, letting others run meanwhile."""
    limit = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < limit, f"no {what} within {LIMIT_S:g} s"
        await asyncio.sleep(LOOK_S)


@contextmanager
def staged(folder: Path, url: str) -> Iterator[Stage]:
    """A stage whose processes are ended on the way out."""
    stage = Stage(folder, url)
    try:
        yield stage
    finally:
        stage.close()


def _state_of(pid: int) -> str:
    """The kernel's letter for what a process does: R, S, T for stopped, Z for one that has ended."""
    if not Path(f"/proc/{pid}").exists():
        return "Z"
    return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
