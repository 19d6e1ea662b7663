"""What SQLite says, in the words of the store: which error it is, whose fault, and what to do."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from holdfast.errors import Corrupt, HoldfastError, InvalidInput, Unavailable

_AWAY = {
    sqlite3.SQLITE_BUSY: "locked by another program; close it, or wait and try again",
    sqlite3.SQLITE_LOCKED: "locked by another connection; try again",
    sqlite3.SQLITE_FULL: "the disk or the file's size limit is full; free space and try again",
    sqlite3.SQLITE_READONLY: "read-only; check the file's permissions and the URL's mode",
    sqlite3.SQLITE_IOERR: "the disk refuses to read or write; check its space, limits and health",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check that the file and its folder may be written",
    sqlite3.SQLITE_PERM: "access is not permitted; check the file's permissions",
    sqlite3.SQLITE_NOMEM: "out of memory; try again with less at once",
    sqlite3.SQLITE_PROTOCOL: "too many programs race for its locks; try again",
    sqlite3.SQLITE_INTERRUPT: "interrupted; try again",
}
_DAMAGED = {
    sqlite3.SQLITE_CORRUPT: "the file is damaged; run verify, then restore a backup",
    sqlite3.SQLITE_NOTADB: "not an SQLite database: a wrong file, or a damaged one; check the URL or restore a backup",
}
# SQLITE_ERROR is what a function says of its argument, such as an index on JSON of a row that was damaged.
_OF_A_VALUE = (sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_ERROR)


def translate(error: sqlite3.Error, path: Path) -> HoldfastError:
    """The store's error for SQLite's."""
    code = primary_code(error)
    facts = {"path": str(path), "sqlite": str(error)}
    if code == sqlite3.SQLITE_CANTOPEN and path.is_dir():
        return InvalidInput(
            f"{path}: expected a file, saw a folder; name one in it, such as {path}/holdfast.db", **facts
        )
    if code in _AWAY:
        return Unavailable(f"{path}: {_AWAY[code]} ({error})", **facts)
    if code in _DAMAGED:
        return Corrupt(f"{path}: {_DAMAGED[code]} ({error})", **facts)
    if is_payload_fault(error):
        return InvalidInput(f"{path}: expected values that SQLite can store, saw otherwise ({error})", **facts)
    return Unavailable(f"{path}: SQLite refuses ({error})", **facts)


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns SQLite's errors inside the block into the store's."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, path) from error


def is_payload_fault(error: BaseException) -> bool:
    """Whether some value in the batch is to blame, rather than the file or the machine."""
    if isinstance(error, OverflowError | UnicodeError):
        return True
    if not isinstance(error, sqlite3.Error):
        return False
    if isinstance(error, sqlite3.InterfaceError | sqlite3.DataError | sqlite3.IntegrityError):
        return True
    return primary_code(error) in _OF_A_VALUE


def is_certainly_undone(error: sqlite3.Error) -> bool:
    """Whether a COMMIT that failed so has surely not happened.

    A failed write stops before the commit record is whole. A failed sync does not tell.
    """
    code = getattr(error, "sqlite_errorcode", None)
    return code == sqlite3.SQLITE_IOERR_WRITE or primary_code(error) in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CONSTRAINT,
    )


def primary_code(error: sqlite3.Error) -> int | None:
    """SQLite's primary result code; None for errors of Python's own layer."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
