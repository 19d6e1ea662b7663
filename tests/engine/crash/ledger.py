"""The outside world as the tests see it: a file to which every effect appends one line.

One `write` with O_APPEND is one line, also from several processes at once, and a SIGKILL after it loses nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec


class Line(msgspec.Struct, frozen=True):
    """One effect that happened, or a word that a program said: what, with which idempotency key, in which process."""

    what: str
    key: str
    pid: int


class Ledger:
    """Appends to and reads the file `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, what: str, key: str = "") -> None:
        """Append one line. It is in the file when this returns."""
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(file, msgspec.json.encode(Line(what, key, os.getpid())) + b"\n")
        finally:
            os.close(file)

    def lines(self, what: str | None = None, *, pid: int | None = None) -> list[Line]:
        """All lines, or those of one effect, of one process."""
        if not self._path.exists():
            return []
        whole, _, _ = self._path.read_bytes().rpartition(b"\n")  # behind it somebody may be writing
        lines = [msgspec.json.decode(text, type=Line) for text in whole.splitlines()]
        return [line for line in lines if what in (None, line.what) and pid in (None, line.pid)]

    def keys(self, what: str) -> list[str]:
        """The keys with which an effect happened, in order."""
        return [line.key for line in self.lines(what)]

    def __repr__(self) -> str:
        return f"Ledger({[line.what for line in self.lines()]})"
