"""One measurement: `python -m benchmarks.contestants NAME PLACE RUNS STEPS WAVES` prints a line of JSON."""

from __future__ import annotations

import asyncio
import importlib
import sys

import msgspec

from benchmarks.contestants.process import Measured, Size


def main() -> None:
    """Measure and print."""
    name, place, *numbers = sys.argv[1:]
    contestant = importlib.import_module(f"benchmarks.contestants.{name}")
    measured: Measured = asyncio.run(contestant.run(place, Size(*map(int, numbers))))
    print(msgspec.json.encode(measured).decode())


if __name__ == "__main__":
    main()
