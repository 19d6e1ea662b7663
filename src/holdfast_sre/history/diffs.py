"""A patch as git prints it, read by what its hunks promise: a removed line may well begin with `--- `. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

LINE_CHARS_MAX = 2_000
"""More of a line is not looked at: it was written by a program."""
PATH_CHARS_MAX = 300
_HUNK = re.compile(r"@@ -[0-9]{1,9}(?:,([0-9]{1,9}))? \+[0-9]{1,9}(?:,([0-9]{1,9}))? @@")


class Hunk(msgspec.Struct, frozen=True):
    """Lines that stand together: what went and what came, in the file `path`."""

    path: str
    removed: tuple[str, ...]
    added: tuple[str, ...]


def hunks_of(patch: str) -> Iterator[Hunk]:
    """The hunks of a patch, one that was cut off at its end included. Lines of context are passed over."""
    path, old, new = "", 0, 0
    removed: list[str] = []
    added: list[str] = []
    for line in patch.split("\n"):
        if old or new:
            text = line[1:LINE_CHARS_MAX].rstrip("\r")
            if line.startswith("-"):
                removed.append(text)
                old = max(0, old - 1)
            elif line.startswith("+"):
                added.append(text)
                new = max(0, new - 1)
            elif not line.startswith("\\"):
                old, new = max(0, old - 1), max(0, new - 1)
            continue
        if line.startswith("\\"):
            continue
        if removed or added:
            yield Hunk(path, tuple(removed), tuple(added))
            removed, added = [], []
        if hunk := _HUNK.match(line):
            old, new = int(hunk[1] or 1), int(hunk[2] or 1)
        elif line.startswith(("--- ", "+++ ")) and line != "+++ /dev/null":
            path = _name(line)
    if removed or added:
        yield Hunk(path, tuple(removed), tuple(added))


def _name(line: str) -> str:
    return line[4:PATH_CHARS_MAX].removesuffix("\t").removeprefix("a/").removeprefix("b/")
