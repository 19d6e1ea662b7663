"""One PostgreSQL server for a whole benchmark: the same settings for everybody, a new database for each measurement."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from holdfast.testing.servers import PostgresServer

SETTINGS = {"synchronous_commit": "on", "shared_buffers": "256MB", "max_wal_size": "4GB"}
"""Beside fsync: memory for what is worked on, and no checkpoint in the middle of a round because of a small log."""
CUT_OFF_MS = 10_000
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Effort(msgspec.Struct, frozen=True):
    """What the server has done since it started: processor seconds, commits, waits for its log to reach the disk."""

    cpu_s: float
    commits: int
    syncs: int

    def since(self, before: Effort) -> Effort:
        """What it did after `before`."""
        return Effort(self.cpu_s - before.cpu_s, self.commits - before.commits, self.syncs - before.syncs)


class Server:
    """A running server that waits for the disk."""

    def __init__(self, postgres: PostgresServer) -> None:
        self.postgres = postgres
        self._numbers = itertools.count(1)

    @property
    def version(self) -> str:
        """As the line about the machine tells it."""
        return f"PostgreSQL {self.postgres.execute('SHOW server_version')}"

    @contextlib.contextmanager
    def database(self, *, template: str = "template1") -> Iterator[str]:
        """The URL of a new database, dropped afterwards. What the server owed to the disk is written first."""
        name = f"bench_{next(self._numbers)}"
        url = self.postgres.create_database(name, template=template)
        self.postgres.execute("CHECKPOINT")
        try:
            yield url
        finally:
            self.postgres.drop_database(name)

    @contextlib.contextmanager
    def image(self) -> Iterator[Image]:
        """What becomes of one new database can be gone back to."""
        image = Image(self.postgres, f"bench_{next(self._numbers)}")
        self.postgres.create_database(image.name)
        try:
            yield image
        finally:
            self.postgres.drop_database(image.name)
            self.postgres.drop_database(image.kept)

    def effort(self) -> Effort:
        """So far. A backend tells its statistics when it ends, so ask when the contestant's process is gone."""
        commits = self.postgres.execute("SELECT sum(xact_commit) FROM pg_stat_database")
        syncs = self.postgres.execute("SELECT coalesce(sum(fsyncs), 0) FROM pg_stat_io WHERE object = 'wal'")
        return Effort(self._cpu_s(), int(commits), int(syncs))

    def _cpu_s(self) -> float:
        """Of the postmaster, of its children that live and of those that have ended."""
        postmaster = int((self.postgres.folder / "data" / "postmaster.pid").read_text().split()[0])
        own = _stat(postmaster)
        ticks = sum(own[11:15]) + sum(sum(stat[11:13]) for stat in _stats() if stat[1] == postmaster)
        return ticks / _TICKS_PER_S


class Image:
    """A database whose state is kept as a template. A copy takes its name, by which processes prove their death."""

    def __init__(self, postgres: PostgresServer, name: str) -> None:
        self._postgres = postgres
        self.name = name
        self.kept = f"{name}_kept"

    @property
    def url(self) -> str:
        """Of the database, whichever copy it is."""
        return self._postgres.url(self.name)

    def keep(self) -> None:
        """Keep the state as it is now. Whoever is connected is cut off."""
        self._postgres.execute(
            f"SELECT pg_terminate_backend(pid, {CUT_OFF_MS}) FROM pg_stat_activity WHERE datname = '{self.name}'"
        )
        self._postgres.execute(f'ALTER DATABASE "{self.name}" RENAME TO "{self.kept}"')

    def go_back(self) -> None:
        """The database is again as it was kept."""
        self._postgres.drop_database(self.name)
        self._postgres.create_database(self.name, template=self.kept)
        self._postgres.execute("CHECKPOINT")


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server whose commits wait for the disk, removed afterwards."""
    with PostgresServer(is_synced=True, settings=SETTINGS) as postgres:
        yield Server(postgres)


def _stats() -> Iterator[list[int]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                yield _stat(int(folder.name))


def _stat(pid: int) -> list[int]:
    """The numbers behind the state in the third column: the parent first (as 1), user and system time at 11 to 14."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return [0, *map(int, fields[1:])]
