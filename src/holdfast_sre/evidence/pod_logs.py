"""Logs of containers: the lines that tell of trouble, like ones grouped, in bounds.

`kubectl cluster-info dump` writes them between marks, into `NAMESPACE/POD/logs.txt` or into the stream of objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

LINES_PER_POD_MAX = 400
LINE_CHARS_MAX = 2_000

_START = re.compile(
    r"^==== START logs for container (?P<container>\S+) of pod (?P<namespace>[^/\s]+)/(?P<pod>\S+) ====$"
)
_END = re.compile(r"^==== END logs for container ")
_TROUBLE = re.compile(
    r"error|exception|fail|fatal|panic|refused|denied|forbidden|unauthorized|timed? ?out|timeout|unreachable"
    r"|unknown ?host|no such|not found|cannot|could not|unable|killed|\bwarn|too many|read.?only|in use"
    r"|invalid|reset by peer|lookup|WRONGPASS|ECONN|ENOTFOUND|EADDR|EAI_AGAIN|max number of clients|not permitted",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[0-9a-f]{8,}|[0-9]+", re.IGNORECASE)


@dataclass(frozen=True)
class PodLog:
    """Lines of one pod's log that tell of trouble, each with how many like it there are."""

    namespace: str
    pod: str
    lines: tuple[tuple[str, int], ...]


def split_stream(text: str) -> tuple[str, list[PodLog]]:
    """A stream of objects with logs between marks: the objects' text, and the logs. Without marks all is objects."""
    if "==== START logs for container" not in text:
        return text, []
    rest: list[str] = []
    logs: list[PodLog] = []
    about: tuple[str, str] | None = None
    lines: list[str] = []
    for line in text.splitlines():
        start = _START.match(line)
        if start or (about is not None and _END.match(line)):
            if about is not None:
                logs.append(PodLog(*about, trouble_in(lines)))
            about, lines = ((start["namespace"], start["pod"]) if start else None), []
        elif about is None:
            rest.append(line)
        else:
            lines.append(line)
    if about is not None:
        logs.append(PodLog(*about, trouble_in(lines)))
    return "\n".join(rest), logs


def log_of_file(name: str, text: str) -> list[PodLog]:
    """The logs in a text file: marked ones, else one of the pod that its path names (`NAMESPACE/POD/logs.txt`)."""
    _, marked = split_stream(text)
    if marked:
        return marked
    parts = name.replace("\\", "/").split("/")
    namespace = parts[-3] if len(parts) >= 3 else ""
    stem = parts[-1].rpartition(".")[0] or parts[-1]
    pod = parts[-2] if len(parts) >= 2 and stem in ("logs", "log", "previous", "current") else stem
    return [PodLog(namespace, pod, trouble_in(text.splitlines()))]


def trouble_in(lines: list[str]) -> tuple[tuple[str, int], ...]:
    """The lines that tell of trouble, those that differ in numbers only as one, the latest text of each."""
    groups: dict[str, tuple[str, int]] = {}
    for line in _told(lines):
        key = _NUMBER.sub("#", line)
        groups[key] = (line, groups.get(key, ("", 0))[1] + 1)
        if len(groups) > LINES_PER_POD_MAX:
            groups.pop(next(iter(groups)))
    return tuple(groups.values())


def _told(lines: list[str]) -> Iterator[str]:
    for line in lines:
        short = line[:LINE_CHARS_MAX].strip()
        if short and _TROUBLE.search(short):
            yield short
