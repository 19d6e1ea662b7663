"""What a rule says: a typed finding with its evidence, and the typed changes that would mend it.

A finding blames fields of manifests (`blames`); a repair may touch these and nothing else.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from holdfast_sre.evidence.snapshot import Ref, Snapshot

EVIDENCE_TEXT_MAX = 400


class Evidence(msgspec.Struct, frozen=True):
    """A quotation: where it was read, and the text, bounded and without control characters."""

    source: str
    text: str


def quote(source: object, text: str) -> Evidence:
    """Evidence from untrusted text: one line, printable, at most EVIDENCE_TEXT_MAX characters."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    if len(line) > EVIDENCE_TEXT_MAX:
        line = line[: EVIDENCE_TEXT_MAX - 1] + "…"
    return Evidence(str(source), line)


ANY_ABSENT = "*"
"""As an object's name in a Field: whatever of that kind the last known good declares and the manifests do not."""


def quote_line(source: object, text: str, pattern: re.Pattern[str]) -> Evidence:
    """Evidence from a text of many lines: the first line that the pattern is in, else the first line."""
    lines = text.splitlines() or [""]
    return quote(source, next((line for line in lines if pattern.search(line)), lines[0]))


class Field(msgspec.Struct, frozen=True):
    """A place in a manifest: the object and the path of a subtree, `""` for the whole object."""

    object: Ref
    path: str


class Change(msgspec.Struct, frozen=True):
    """One leaf of a patch; `before` None is an addition, `after` None a removal. Scalars are compared as text."""

    object: str
    path: str
    before: str | None = msgspec.field(name="from")
    after: str | None = msgspec.field(name="to")


MomentKind = Literal["event", "log", "change"]


class Moment(msgspec.Struct, frozen=True):
    """Something that happened `age_s` seconds before the snapshot: an event, a line of a log, a change."""

    age_s: float
    kind: MomentKind
    source: str
    text: str


class Finding(msgspec.Struct, frozen=True):
    """One judgement of one rule about one object.

    `confidence` lies in (0, 1). `blames` names the fields that hold the cause, empty where it is not in the manifests.
    `remedy` is a patch that is safe without a last known good, empty where there is none. `victims` are objects in
    trouble now that the finding explains, `timeline` is what happened to it and them, oldest first; the diagnosis fills
    them in.
    """

    rule: str
    object: Ref
    confidence: float
    evidence: tuple[Evidence, ...]
    blames: tuple[Field, ...] = ()
    remedy: tuple[Change, ...] = ()
    victims: tuple[Ref, ...] = ()
    timeline: tuple[Moment, ...] = ()


class Rule(msgspec.Struct, frozen=True):
    """A fault class: what must hold now, how it is mended and what proves the repair.

    `repair` is "patch" where the manifests can mend it, else "escalate" with the runbook step in `mending`.
    """

    id: str
    title: str
    holds: str
    mending: str
    proof: str
    repair: Literal["patch", "escalate"]
    find: Callable[[Snapshot], Iterable[Finding]]

    def __post_init__(self) -> None:
        allowed = set(string.ascii_lowercase + string.digits + "-")
        is_plain = bool(self.id) and set(self.id) <= allowed
        assert is_plain, f"rule id {self.id!r}: expected lower-case words joined by hyphens"
