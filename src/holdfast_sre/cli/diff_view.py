"""A pull request's diff as it is shown before a verdict: the changed manifests whole, a generated test by its name.

Whoever is asked must see what is changed without turning pages back. What is left out is told, and can be had: the
verdict is for all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

TESTS = "b/holdfast-checks/"
NEW_LINES_MAX = 12
"""A new test of more lines than this is told by its name."""


def in_short(diff: str) -> tuple[str, list[str]]:
    """The diff without the bodies of new tests and without git's object ids, and a remark on each test left out."""
    shown: list[str] = []
    remarks: list[str] = []
    for block in _blocks(diff):
        header = list(takewhile(lambda line: not line.startswith("@@"), block))
        added = len(block) - len(header) - 1
        name = next((line[4:] for line in header if line.startswith("+++ ")), "")
        if "--- /dev/null" in header and name.startswith(TESTS) and added > NEW_LINES_MAX:
            remarks.append(f"and a new test of {added} lines: {name.removeprefix('b/')}")
        else:
            shown += [line for line in header if not line.startswith("index ")] + block[len(header) :]
    return "\n".join(shown), remarks


def _blocks(diff: str) -> Iterator[list[str]]:
    """The lines of each file: none of a file's own lines begins with a letter, so git's header is known by that."""
    block: list[str] = []
    for line in diff.splitlines():
        if line.startswith("diff --git ") and block:
            yield block
            block = []
        block.append(line)
    if block:
        yield block
