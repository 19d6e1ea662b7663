"""A changed value and the parts in which it differs, as texts that may stand in sources; how they are written there."""

from __future__ import annotations

import re

from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.repair.tree.yaml_scalars import quoted, rendered

_JOINTS = re.compile(r"[:/@=,]")
_QUANTITY = re.compile(r"(\d+)([A-Za-z]+)")
BOOLEANS = {"True": "true", "False": "false"}
"""Truth values as leaves have them, and as YAML has them."""


def pairs_of(change: Change) -> list[tuple[str, str | None]]:
    """The old and the new value, whole and as the parts in which they differ: a tag, a repository, a port."""
    before, after = change.before, change.after
    if before is None:
        return []
    before = BOOLEANS.get(before, before)
    if after is None:
        return [(before, None)]
    pairs: list[tuple[str, str | None]] = [(before, after)]
    shared, tail = _shared(before, after), _shared(before[::-1], after[::-1])
    joints = [(found.start(), found.end()) for found in _JOINTS.finditer(before)]
    starts = [0, *(last for _, last in joints if last <= shared)]
    ends = [0, *(len(before) - first for first, _ in joints if first >= len(before) - tail)]
    pairs += [
        (before[first : len(before) - last], after[first : len(after) - last])
        for first in starts
        for last in ends
        if first + last < min(len(before), len(after))
    ]
    old, new = _QUANTITY.fullmatch(before), _QUANTITY.fullmatch(after)
    if old and new and old[2] == new[2]:
        pairs.append((old[1], new[1]))
    return list(dict.fromkeys(pairs))


def _shared(one: str, other: str) -> int:
    """How many signs two texts begin with in common."""
    both = enumerate(zip(one, other, strict=False))
    return next((at for at, (here, there) in both if here != there), min(len(one), len(other)))


def in_quotes(path: str, text: str, *, old: str | None = None) -> str:
    """A scalar as text, where a reader might take it for a number: helm prints the number 1.0 as 1."""
    written = rendered(path, text, old=old)
    return quoted(text, quote='"') if written == text and quoted(text) != text else written


def as_it_is(path: str, text: str, *, old: str | None = None) -> str:
    return text


def words_of(text: str) -> set[str]:
    """The words of a path, so that `oven.replicaCount` is like `Deployment/oven spec.replicas`."""
    return {word.lower().rstrip("s") for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", text)}
