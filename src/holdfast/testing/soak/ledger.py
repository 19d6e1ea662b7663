"""The outside world as a soak sees it: a file to which every effect, and every word of a process, appends one line.

One `write` with O_APPEND is one line, also from several processes at once, and a SIGKILL after it loses nothing. The
order of the lines is the order in which the world heard of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from holdfast.testing.soak.lines import Line


class Ledger:
    """Appends to and reads the file `path`."""

    def __init__(self, path: Path, *, by: str = "") -> None:
        self._path = path
        self._by = by

    def add(self, what: str, *, run: str = "", about: str = "", key: str = "", number: int = 0) -> None:
        """Append one line. It is in the file when this returns."""
        line = Line(what=what, by=self._by, run=run, about=about, key=key, number=number)
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(file, msgspec.json.encode(line) + b"\n")
        finally:
            os.close(file)

    def lines(self) -> Iterator[Line]:
        """All lines, in order."""
        if not self._path.exists():
            return
        decoder = msgspec.json.Decoder(Line)
        with self._path.open("rb") as file:
            for text in file:
                yield decoder.decode(text)

    @property
    def size_bytes(self) -> int:
        """How big it is: it grows for as long as anything moves."""
        return self._path.stat().st_size if self._path.exists() else 0

    def __repr__(self) -> str:
        return f"Ledger({str(self._path)!r}, by={self._by!r})"
