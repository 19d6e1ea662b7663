"""The SQLite file: how it is opened, recognised and brought up to date by numbered migrations.

`PRAGMA user_version` holds the number of the last migration applied, `application_id` says that the file is ours.
"""

from __future__ import annotations

import contextlib
import sqlite3
import urllib.parse
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Literal

from holdfast.errors import InvalidInput, Unavailable
from holdfast.store.sqlite.errors import translated

APPLICATION_ID = 0x686F6C64
"""ASCII "hold"."""
BUSY_TIMEOUT_S = 5.0
"""How long a program that does not take turns may hold the file before a commit is refused."""
SQLITE_LEAST = (3, 35, 0)
"""The oldest SQLite library that has all that is used here."""
STATEMENTS_MAX = 256
"""Bound on the prepared statements kept by one connection."""

Mode = Literal["ro", "rw", "rwc"]


def migrations() -> list[tuple[int, str, str]]:
    """Number, name and SQL of each migration, in order."""
    files = sorted((resources.files("holdfast.store.sqlite") / "migrations").iterdir(), key=lambda file: file.name)
    found = [file for file in files if file.name.endswith(".sql")]
    return [(int(file.name.split("_")[0]), file.name.removesuffix(".sql"), file.read_text()) for file in found]


def connect(path: Path, mode: Mode, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> sqlite3.Connection:
    """A connection in autocommit mode, usable from any one thread at a time. Raises the store's errors."""
    if sqlite3.sqlite_version_info < SQLITE_LEAST:
        least = ".".join(map(str, SQLITE_LEAST))
        raise Unavailable(f"sqlite: expected library {least} or newer, saw {sqlite3.sqlite_version}; update Python")
    if mode == "ro" and not path.exists():
        raise InvalidInput(f"sqlite: expected a store at {path} to read, saw no file", path=str(path))
    if not path.parent.is_dir():
        raise InvalidInput(f"sqlite: expected a folder {path.parent} to hold {path.name}, saw none; create it first")
    with translated(path):
        connection = sqlite3.connect(
            f"file:{urllib.parse.quote(str(path))}?mode={mode}",
            uri=True,
            timeout=busy_timeout_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=STATEMENTS_MAX,
        )
        with closed_on_error(connection):
            _check_ours(connection, path)
            if mode != "ro":
                connection.execute("PRAGMA synchronous = FULL")
        return connection


def is_ready(connection: sqlite3.Connection) -> bool:
    """Whether the file needs no preparation: asked without a lock, so that opening waits for nobody who writes."""
    return _journal_mode(connection) == "wal" and schema_version(connection) >= migrations()[-1][0]


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Switch to WAL and bring the schema up to date. One process at a time: two that switch at once lock each other."""
    connection.execute("PRAGMA journal_mode = WAL")
    if (mode := _journal_mode(connection)) != "wal":
        raise Unavailable(f"{path}: expected a file system that allows a write-ahead log, saw mode {mode!r}")
    migrate(connection, path)


def migrate(connection: sqlite3.Connection, path: Path) -> list[str]:
    """Apply what is missing, each migration in one transaction; the names of those applied."""
    applied = []
    for number, name, script in migrations():
        with transaction(connection):
            if schema_version(connection) >= number:
                continue
            for statement in _statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number}")
            applied.append(name)
    check_version(connection, path)
    return applied


def check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Raises Unavailable unless the schema is the one that this code knows."""
    seen, known = schema_version(connection), migrations()[-1][0]
    if seen > known:
        raise Unavailable(
            f"{path}: written by a newer holdfast: schema {seen}, this one knows {known}; upgrade",
            expected=known,
            seen=seen,
        )
    if seen < known:
        raise Unavailable(
            f"{path}: expected schema {known}, saw {seen}; open it once for writing to bring it up to date",
            expected=known,
            seen=seen,
        )


def schema_version(connection: sqlite3.Connection) -> int:
    """The number of the last migration applied; 0 for a new file."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE, then COMMIT, or ROLLBACK on any error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise


def roll_back(connection: sqlite3.Connection) -> None:
    """End a transaction that failed; SQLite may have ended it already."""
    if connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


@contextlib.contextmanager
def closed_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    """Close `connection` if the block fails."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _check_ours(connection: sqlite3.Connection, path: Path) -> None:
    # In this order: a peer that makes the schema just now sets the id with it.
    is_empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    if application_id != APPLICATION_ID and not is_empty:
        raise InvalidInput(f"{path}: expected a holdfast store, saw an SQLite file of another program", path=str(path))
    if not is_empty and schema_version(connection) > migrations()[-1][0]:
        check_version(connection, path)


def _journal_mode(connection: sqlite3.Connection) -> str:
    mode: str = connection.execute("PRAGMA journal_mode").fetchone()[0]
    return mode


def _statements(script: str) -> Iterator[str]:
    """The statements of `script`. (`executescript` would commit, and these must share one transaction.)"""
    gathered = ""
    for line in script.splitlines(keepends=True):
        gathered += line
        if sqlite3.complete_statement(gathered):
            yield gathered
            gathered = ""
