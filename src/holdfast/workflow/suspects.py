"""The program of a quarantine: an engine that works on suspects alone, until none is left or its input ends."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

from holdfast import codec as json_codec
from holdfast.errors import HoldfastError
from holdfast.workflow.engine import Engine
from holdfast.workflow.recovery.quarantine import READY, Errand
from holdfast.workflow.recovery.recovery import Suspects


class SuspectsEngine(Engine):
    """Works on one suspect at a time, and hands it on once it has made progress."""

    _suspects = Suspects.ONLY


async def work(errand: Errand) -> None:
    """Until no suspect is left, the input has ended, or somebody asks for the end."""
    workflows = [_found(place) for place in errand.workflows]
    engine = SuspectsEngine(
        errand.store,
        *workflows,
        durable=False,
        deaths_max=errand.deaths_max,
        lease_ttl_s=errand.lease_ttl_s,
        heartbeat_s=errand.heartbeat_s,
        codec=None if errand.codec is None else _found(errand.codec),
    )
    async with engine:
        is_over = engine.inside.recovery.is_over
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin.fileno(), _read, is_over)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, is_over.set)
        os.write(errand.ready_fd, READY)
        await is_over.wait()


def _found(place: tuple[str, str]) -> Any:
    return getattr(importlib.import_module(place[0]), place[1])


def _read(is_over: asyncio.Event) -> None:
    """Nothing more is said on the input: what comes is its end."""
    if not os.read(sys.stdin.fileno(), 4096):
        is_over.set()
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())


def _first_line(number: int) -> bytes:
    """Up to the first end of line, and nothing behind it: the loop reads the rest."""
    line = b""
    while not line.endswith(b"\n") and (sign := os.read(number, 1)):
        line += sign
    return line


def main() -> None:
    """Run the program."""
    with contextlib.suppress(OSError):  # where memory runs out the kernel shall take this process, not its engine
        Path("/proc/self/oom_score_adj").write_text("1000")
    errand = json_codec.decode(_first_line(sys.stdin.fileno()), Errand, what="errand")
    sys.path[:] = errand.paths
    try:
        asyncio.run(work(errand))
    except HoldfastError as error:
        sys.exit(f"error: {error.message}")


if __name__ == "__main__":
    main()
