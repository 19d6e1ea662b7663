"""The text that kubectl prints for people, taken apart: tables, and the indented outline of `describe`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from holdfast_sre.evidence.quantities import age_s
from holdfast_sre.evidence.snapshot import Event, Ref

_EVENT_AGE = re.compile(r"(\S+)(?: \(x([0-9]+) over [^)]*\))?")
_EMPTY = ("<none>", "<unset>")


@dataclass
class Section:
    """A line of `describe` and the more deeply indented lines under it."""

    line: str = ""
    items: list[Section] = field(default_factory=list)

    @property
    def key(self) -> str:
        """The text before the first colon."""
        return self.line.partition(":")[0].strip()

    @property
    def value(self) -> str:
        """The text after the first colon; empty where kubectl prints that there is none."""
        value = self.line.partition(":")[2].strip()
        return "" if value in _EMPTY else value

    def get(self, key: str) -> Section:
        """The first item of that key, or an empty section."""
        return next((item for item in self.items if item.key == key), Section())

    def text(self, key: str) -> str:
        """The value of the first item of that key, or an empty string."""
        return self.get(key).value

    def pairs(self, separator: str) -> dict[str, str]:
        """The value and the lines under it, each split at the first separator: labels, selectors, limits."""
        lines = ([self.value] if self.value else []) + [item.line for item in self.items]
        parts = (line.partition(separator) for line in lines)
        return {key.strip(): value.strip() for key, found, value in parts if found}


def outline(text: str) -> Section:
    """The tree of a `describe` text, by indentation."""
    root = Section()
    stack: list[tuple[int, Section]] = [(-1, root)]
    for raw in text.splitlines():
        line = raw.strip()
        if not line:
            continue
        indent = len(raw) - len(raw.lstrip())
        while stack[-1][0] >= indent:
            stack.pop()
        section = Section(line)
        stack[-1][1].items.append(section)
        stack.append((indent, section))
    return root


def table(text: str) -> list[dict[str, str]]:
    """The rows of a `kubectl get` table, by column; cells are cut at the columns of the header line."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        return []
    starts = [match.start() for match in re.finditer(r"(?:(?<=  )|^)\S", lines[0])]
    if not starts:
        return []
    spans = list(zip(starts, [*starts[1:], None], strict=True))
    names = [lines[0][start:end].strip() for start, end in spans]
    return [dict(zip(names, (line[start:end].strip() for start, end in spans), strict=True)) for line in lines[1:]]


def described_events(section: Section, about: Ref) -> Iterator[Event]:
    """The events at the end of a description."""
    for item in section.get("Events").items:
        cells = re.split(r"\s{2,}", item.line, maxsplit=4)
        if len(cells) < 5 or cells[0] in ("Type", "----"):
            continue
        kind, reason, age, _, message = cells
        match = _EVENT_AGE.match(age)
        count = int(match[2]) if match and match[2] else 1
        yield Event(about, kind, reason, message, count, age_s(match[1]) if match else None)


_KINDS = {
    "pod": "Pod",
    "replicaset": "ReplicaSet",
    "deployment": "Deployment",
    "statefulset": "StatefulSet",
    "daemonset": "DaemonSet",
    "service": "Service",
    "node": "Node",
    "persistentvolumeclaim": "PersistentVolumeClaim",
    "persistentvolume": "PersistentVolume",
    "job": "Job",
    "cronjob": "CronJob",
    "horizontalpodautoscaler": "HorizontalPodAutoscaler",
}


def listed_events(text: str) -> Iterator[Event]:
    """The rows of `kubectl get events`."""
    for row in table(text):
        kind, _, name = row.get("OBJECT", "").partition("/")
        if name:
            about = Ref(_KINDS.get(kind, kind), name)
            kind, reason, message = (row.get(heading, "") for heading in ("TYPE", "REASON", "MESSAGE"))
            yield Event(about, kind, reason, message, age_s=age_s(row.get("LAST SEEN", "")))
