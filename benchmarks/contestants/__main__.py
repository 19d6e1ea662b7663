"""One measurement: `python -m benchmarks.contestants NAME FOLDER RUNS STEPS WAVES` prints a line of JSON."""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path

import msgspec

from benchmarks.contestants.process import Measured, Size


def main() -> None:
    """Measure and print."""
    name, folder, *numbers = sys.argv[1:]
    contestant = importlib.import_module(f"benchmarks.contestants.{name}")
    measured: Measured = asyncio.run(contestant.run(Path(folder), Size(*map(int, numbers))))
    print(msgspec.json.encode(measured).decode())


if __name__ == "__main__":
    main()
