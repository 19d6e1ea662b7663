"""Which keys a patch touches, in whatever language: by how names are written, and by those that are known. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Literal

import msgspec

from holdfast_sre.history.diffs import Hunk, hunks_of
from holdfast_sre.history.keys import NAME_CHARS_MAX, NAME_CHARS_MIN, UPPER, Key, known_words

KEYS_MAX = 60
"""Of one commit; known keys first."""
HUNKS_MAX = 5_000

How = Literal["added", "removed", "changed", "renamed"]
_VARIABLE = re.compile(r"\s*(?:ENV|ARG|export)\s+([A-Za-z_][A-Za-z0-9_]{2,99})")
_PORT_SAID = re.compile(
    r"\b(?:EXPOSE|(?i:listen\w{0,20}|\w{0,20}port|bind|addr\w{0,10}))\b\W{0,20}([0-9]{2,5})(?![0-9.])"
)
_PORT_HELD = re.compile(r":([0-9]{2,5})(?![0-9.:])")
_NUMBER = re.compile(r"(?<![\w.])([0-9]{2,5})(?![\w.])")
_PATH = re.compile(r"[\"'`](/[A-Za-z0-9_./-]{2,99})[\"'`]")


class KeyChange(msgspec.Struct, frozen=True):
    """A key that a commit touched, and the first file in which it did. `to` is the new name of a renamed one.

    `changed`: lines that name it were changed, and it is still there.
    """

    key: Key
    how: How
    file: str
    to: str = ""

    @property
    def keys(self) -> tuple[Key, ...]:
        """What it is about: the key, and what it became."""
        return (self.key, Key(self.key.kind, self.to)) if self.to else (self.key,)

    @property
    def told(self) -> str:
        """For people: `DB_HOST` -> `DATABASE_HOST`."""
        return f"{self.key} -> {self.to}" if self.to else f"{self.key} {self.how}"


def touched_keys(patch: str, known: frozenset[Key]) -> tuple[KeyChange, ...]:
    """The keys that a patch touches, known ones first, at most KEYS_MAX.

    Taken are names in UPPER_CASE, what `ENV`, `ARG` and `export` set, numbers beside `EXPOSE`, `listen`, `port` and the
    like, quoted paths, and every known key. A key that went where exactly one like it came, in one hunk, was renamed.
    """
    found: dict[Key, KeyChange] = {}
    renamed: set[Key] = set()
    for hunk in islice(hunks_of(patch), HUNKS_MAX):
        for change in _changes(hunk, known):
            before = found.get(change.key)
            if before is None:
                found[change.key] = change
            elif before.how != change.how and "renamed" not in (before.how, change.how):
                found[change.key] = KeyChange(change.key, "changed", before.file)
            elif change.how == "renamed":
                found[change.key] = change
            if change.how == "renamed":
                renamed.add(change.keys[1])
    kept = [change for key, change in found.items() if key not in renamed or change.how != "added"]
    kept.sort(key=lambda change: not any(key in known for key in change.keys))
    return tuple(kept[:KEYS_MAX])


def _changes(hunk: Hunk, known: frozenset[Key]) -> Iterator[KeyChange]:
    went = dict.fromkeys(key for line in hunk.removed for key in _keys(line, known))
    came = dict.fromkeys(key for line in hunk.added for key in _keys(line, known))
    gone, new = [key for key in went if key not in came], [key for key in came if key not in went]
    for key in gone:
        alike = [other for other in new if other.kind == key.kind]
        if len(alike) == 1 and sum(other.kind == key.kind for other in gone) == 1:
            yield KeyChange(key, "renamed", hunk.path, to=alike[0].name)
            new.remove(alike[0])
        else:
            yield KeyChange(key, "removed", hunk.path)
    yield from (KeyChange(key, "added", hunk.path) for key in new)
    yield from (KeyChange(key, "changed", hunk.path) for key in went if key in came)


def _keys(line: str, known: frozenset[Key]) -> Iterator[Key]:
    for match in UPPER.finditer(line):
        if NAME_CHARS_MIN <= len(match[0]) <= NAME_CHARS_MAX:
            yield Key("setting", match[0])
    if variable := _VARIABLE.match(line):
        yield Key("setting", variable[1])
    for pattern in (_PORT_SAID, _PORT_HELD):
        yield from (Key("port", match[1]) for match in pattern.finditer(line) if 0 < int(match[1]) < 65_536)
    for match in _NUMBER.finditer(line):
        if (port := Key("port", match[1])) in known:
            yield port
    yield from (Key("path", match[1]) for match in _PATH.finditer(line))
    yield from known_words(line, known)
