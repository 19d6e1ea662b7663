"""Recovery: runs whose process was killed in their second step; seconds to the first progress and until all have ended.

The clock starts when the engine is opened, and progress counts when it is durable. holdfast with 10,000 active runs;
beside DBOS with 1,000, as many as it starts and ends within a bearable time. LangGraph is not asked: it recovers
nothing by itself, its caller must know which threads had not ended and invoke each again.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from benchmarks.contestants.recovery import Recovered
from benchmarks.harness import Comparison, compare, options, publish

ALONE_RUNS = 10_000
BESIDE_RUNS = 1_000
TIMEOUT_S = 600.0


class Killed:
    """The database of `runs` runs whose process was killed, made once; every recovery works on a copy.

    `firsts_s` gathers the seconds to the first progress, one per recovery.
    """

    def __init__(self, contestant: str, runs: int, folder: Path) -> None:
        self._command = [sys.executable, "-m", "benchmarks.contestants.recovery", contestant]
        self._runs = str(runs)
        self._place = folder / contestant / self._runs
        self.firsts_s: list[float] = []

    def all_s(self) -> float:
        """Seconds until all have ended, by a new recovery."""
        if not self._place.exists():
            self._prepare()
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            copy = shutil.copytree(self._place, Path(folder) / "copy")
            done = subprocess.run(
                [*self._command, "recover", str(copy), self._runs],
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        if done.returncode:
            raise RuntimeError(f"{done.args}: expected exit code 0, saw {done.returncode}: {done.stderr[-2000:]}")
        recovered = msgspec.json.decode(done.stdout.splitlines()[-1], type=Recovered)
        self.firsts_s.append(recovered.first_s)
        return recovered.all_s

    def next_first_s(self) -> float:
        """Seconds to the first progress of the recoveries done, one after the other."""
        return self.firsts_s.pop(0)

    def _prepare(self) -> None:
        self._place.mkdir(parents=True)
        command = [*self._command, "prepare", str(self._place), self._runs]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            try:
                if not any(line.strip() == "ready" for line in process.stdout):
                    raise RuntimeError(f"{command}: expected it to say ready, saw it end")
            finally:
                process.kill()


def main() -> None:
    """Measure and print."""
    chosen = options(__doc__ or "", rounds=3)
    shrink = 100 if chosen.quick else 1
    sizes = {
        ALONE_RUNS // shrink: {"holdfast": "holdfast_recovery"},
        BESIDE_RUNS // shrink: {"holdfast": "holdfast_recovery", "DBOS": "dbos_recovery"},
    }
    comparisons: list[Comparison] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for runs, names in sizes.items():
            if chosen.only not in f"{runs:,} active runs":
                continue
            killed = {name: Killed(module, runs, Path(folder)) for name, module in names.items()}
            comparisons += compared(runs, killed, rounds=chosen.rounds)
    publish("recovery", comparisons, chosen)


def compared(runs: int, killed: dict[str, Killed], *, rounds: int) -> list[Comparison]:
    """Two questions, answered by the same recoveries."""
    ended = {name: place.all_s for name, place in killed.items()}
    first = {name: place.next_first_s for name, place in killed.items()}
    return [
        compare(f"{runs:,} active runs, until all have ended", ended, unit="s", better="less", rounds=rounds),
        compare(f"{runs:,} active runs, to the first progress", first, unit="s", better="less", rounds=rounds),
    ]


if __name__ == "__main__":
    main()
