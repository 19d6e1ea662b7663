"""Recovery: runs whose process was killed in their second step; seconds to the first progress and until all have ended.

The clock starts when the engine is opened, and progress counts when it is durable. holdfast with 10,000 active runs, on
SQLite and on PostgreSQL; beside DBOS with 1,000, as many as it starts and ends within a bearable time. LangGraph is not
asked: it recovers nothing by itself, its caller must know which threads had not ended and invoke each again.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from benchmarks import server
from benchmarks.contestants.recovery import Recovered
from benchmarks.harness import Comparison, compare, options, publish
from benchmarks.server import Image

ALONE_RUNS = 10_000
BESIDE_RUNS = 1_000
TIMEOUT_S = 600.0
ALONE = ("holdfast",)
BESIDE = ("holdfast", "DBOS")
ON_SQLITE = {"holdfast": "holdfast_recovery", "DBOS": "dbos_recovery"}
ON_POSTGRES = {"holdfast": "holdfast_postgres_recovery", "DBOS": "dbos_postgres_recovery"}


class Crash(ABC):
    """A database whose process was killed, and copies of it."""

    @abstractmethod
    def before(self) -> AbstractContextManager[str]:
        """The place for the process that will be killed. What it left there when the block ends is kept."""

    @abstractmethod
    def copy(self) -> AbstractContextManager[str]:
        """The place of a copy of what it left."""


class FileCrash(Crash):
    """In a folder of its own, kept in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def before(self) -> Iterator[str]:
        """The folder itself."""
        self._folder.mkdir(parents=True)
        yield str(self._folder)

    @contextlib.contextmanager
    def copy(self) -> Iterator[str]:
        """A folder elsewhere."""
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            yield str(shutil.copytree(self._folder, Path(folder) / "copy"))


class DatabaseCrash(Crash):
    """In a database, kept as a template."""

    def __init__(self, image: Image) -> None:
        self._image = image

    @contextlib.contextmanager
    def before(self) -> Iterator[str]:
        """The database that becomes the template."""
        yield self._image.url
        self._image.keep()

    @contextlib.contextmanager
    def copy(self) -> Iterator[str]:
        """One of the same name."""
        self._image.go_back()
        yield self._image.url


class Killed:
    """The database of `runs` runs whose process was killed, made once; every recovery works on a copy.

    `firsts_s` gathers the seconds to the first progress, one per recovery.
    """

    def __init__(self, contestant: str, runs: int, crash: Crash) -> None:
        self._command = [sys.executable, "-m", "benchmarks.contestants.recovery", contestant]
        self._runs = str(runs)
        self._crash = crash
        self._is_prepared = False
        self.firsts_s: list[float] = []

    def all_s(self) -> float:
        """Seconds until all have ended, by a new recovery."""
        if not self._is_prepared:
            self._prepare()
        with self._crash.copy() as place:
            done = subprocess.run(
                [*self._command, "recover", place, self._runs],
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
        with self._crash.before() as place:
            command = [*self._command, "prepare", place, self._runs]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
                assert process.stdout is not None
                try:
                    if not any(line.strip() == "ready" for line in process.stdout):
                        raise RuntimeError(f"{command}: expected it to say ready, saw it end")
                finally:
                    process.kill()
        self._is_prepared = True


def main() -> None:
    """Measure and print."""
    chosen = options(__doc__ or "", rounds=3)
    shrink = 100 if chosen.quick else 1
    comparisons: list[Comparison] = []
    versions: list[str] = []
    for runs, names in ((ALONE_RUNS // shrink, ALONE), (BESIDE_RUNS // shrink, BESIDE)):
        if chosen.only in (what := f"{runs:,} active runs"):
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                killed = {name: Killed(ON_SQLITE[name], runs, FileCrash(Path(folder) / name)) for name in names}
                comparisons += compared(what, killed, rounds=chosen.rounds)
        if chosen.only in (what := f"{runs:,} active runs on PostgreSQL"):
            with server.running() as on, contextlib.ExitStack() as stack:
                killed = {
                    name: Killed(ON_POSTGRES[name], runs, DatabaseCrash(stack.enter_context(on.image())))
                    for name in names
                }
                comparisons += compared(what, killed, rounds=chosen.rounds)
                versions = [on.version]
    publish("recovery", comparisons, chosen, servers=versions)


def compared(what: str, killed: dict[str, Killed], *, rounds: int) -> list[Comparison]:
    """Two questions, answered by the same recoveries."""
    ended = {name: place.all_s for name, place in killed.items()}
    first = {name: place.next_first_s for name, place in killed.items()}
    return [
        compare(f"{what}, until all have ended", ended, unit="s", better="less", rounds=rounds),
        compare(f"{what}, to the first progress", first, unit="s", better="less", rounds=rounds),
    ]


if __name__ == "__main__":
    main()
