"""Restate, installed for the length of one benchmark: its server from npm, its SDK from PyPI, in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.contestants.process import Measured, Size, measure

SERVER = "1.7.12"
SDK = ("restate-sdk==1.3.0", "hypercorn==0.18.0")
TIMEOUT_S = 600
SERVER_VARIABLE = "BENCH_RESTATE_SERVER"
"""Tells the contestant where the server's program is."""


class Restate:
    """What was installed."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def measured(self, size: Size) -> Measured:
        """What it measures in a new process, with a new server, on a new log."""
        return measure("restate_steps", size, self._environment)


@contextlib.contextmanager
def installed() -> Iterator[Restate | None]:
    """Restate, or None where there is no npm; a word about that goes to stderr. Raises CalledProcessError."""
    if shutil.which("npm") is None:
        print("Restate: skipped, its server comes by npm and there is none", file=sys.stderr)
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        npm = ("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder)
        _run(*npm, f"@restatedev/restate-server@{SERVER}")
        (program,) = Path(folder).glob("node_modules/@restatedev/restate-server-*/bin/restate-server")
        packages = Path(folder) / "packages"
        pip = ("uv", "pip", "install") if shutil.which("uv") else (sys.executable, "-m", "pip", "install")
        _run(*pip, "--quiet", "--target", str(packages), *SDK)
        # Behind what is installed for us: the packages that both need stay ours.
        search = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(packages))))
        yield Restate({"PYTHONPATH": search, SERVER_VARIABLE: str(program)})


def _run(*command: str) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, timeout=TIMEOUT_S, check=True)
