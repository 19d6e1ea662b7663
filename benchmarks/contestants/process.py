"""Runs a contestant in a process of its own, if asked for under strace, and reads what it measured."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

TIMEOUT_S = 600.0
SYNC_CALLS = "fsync,fdatasync"


class Size(msgspec.Struct, frozen=True):
    """How much a contestant does: waves of so many runs at once, of so many steps each."""

    runs: int
    steps: int
    waves: int = 1

    @property
    def all_steps(self) -> int:
        """The steps of all waves."""
        return self.runs * self.steps * self.waves


class Measured(msgspec.Struct, frozen=True):
    """What a contestant found: the time of all waves, its own processor time in them, how its database is kept."""

    seconds: float
    setting: str
    cpu_s: float = 0.0


def measure(contestant: str, size: Size, environment: Mapping[str, str] | None = None) -> Measured:
    """What `contestant` measures in a new process, with variables of its own, and a new folder."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        return _answer(_command(contestant, folder, size), environment)


def measure_at(url: str, contestant: str, size: Size) -> Measured:
    """What `contestant` measures in a new process, in the database at `url`."""
    return _answer(_command(contestant, url, size))


def syncs(contestant: str, size: Size) -> int | None:
    """How often the whole life of `contestant` waits for the disk, set-up included; None where strace is missing."""
    if shutil.which("strace") is None:
        return None
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        summary = Path(folder) / "syscalls"
        strace = ["strace", "-f", "--seccomp-bpf", "-c", "-e", f"trace={SYNC_CALLS}", "-o", str(summary)]
        _answer([*strace, *_command(contestant, folder, size)])
        return sync_calls(summary.read_text())


def syncs_per_step(contestant: str, size: Size) -> float | None:
    """How often one step waits for the disk: what the waves add to a life with the first run alone."""
    with_waves, without = syncs(contestant, size), syncs(contestant, Size(size.runs, size.steps, waves=0))
    if with_waves is None or without is None:
        return None
    return (with_waves - without) / size.all_steps


def _command(contestant: str, place: str, size: Size) -> list[str]:
    return [
        sys.executable,
        "-m",
        "benchmarks.contestants",
        contestant,
        place,
        *map(str, (size.runs, size.steps, size.waves)),
    ]


def _answer(command: list[str], environment: Mapping[str, str] | None = None) -> Measured:
    done = subprocess.run(
        command,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: expected exit code 0, saw {done.returncode}: {done.stderr[-2000:]}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Measured)


def sync_calls(summary: str) -> int:
    """The calls in a table of `strace -c`: the fourth column of each system call's line."""
    pattern = rf"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s.*\b(?:{SYNC_CALLS.replace(',', '|')})$"
    return sum(int(calls) for calls in re.findall(pattern, summary, re.MULTILINE))
