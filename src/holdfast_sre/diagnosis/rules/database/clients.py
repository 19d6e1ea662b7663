"""A database's clients: the settings that their secrets hold, compared with each other's, and what their logs say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from holdfast_sre.diagnosis.findings import Evidence, quote, quote_line
from holdfast_sre.diagnosis.symptoms import is_short, restarts
from holdfast_sre.evidence.snapshot import LogLine, Ref, Snapshot, containers_of, dig

REFUSED = re.compile(r"Communications link failure|Connection refused|could not connect to server|ECONNREFUSED")
PASSWORD = re.compile(r"PASS(?:WORD|WD)?$", re.IGNORECASE)
PORT = re.compile(r"PORT$", re.IGNORECASE)
HOST = re.compile(r"HOST(?:NAME)?$", re.IGNORECASE)
USER = re.compile(r"USER(?:NAME)?$", re.IGNORECASE)
Secret = Mapping[str, str]


def secrets_of(snapshot: Snapshot, workload: Ref) -> Iterator[tuple[Ref, Secret]]:
    """The secrets that a workload's containers take their environment from, as far as the manifests hold them."""
    for container in containers_of(snapshot.manifest(workload)):
        for source in container.get("envFrom") or ():
            ref = Ref("Secret", str(dig(source, "secretRef.name") or ""))
            data = dig(snapshot.manifest(ref), "stringData")
            if isinstance(data, Mapping):
                yield ref, {str(key): str(value) for key, value in data.items()}


def setting(secret: Secret, pattern: re.Pattern[str]) -> tuple[str, str] | None:
    """The first setting whose key the pattern is in: the key and the value."""
    return next(((key, value) for key, value in secret.items() if pattern.search(key)), None)


def log_lines(snapshot: Snapshot, workload: Ref, pattern: re.Pattern[str]) -> list[LogLine]:
    """A workload's lines that the pattern is in."""
    return [line for line in snapshot.logs_of(workload.name) if pattern.search(line.text)]


def quoted(workload: Ref, lines: list[LogLine], pattern: re.Pattern[str]) -> Evidence:
    """The first of the lines as evidence; where there is none, that the workload is in trouble."""
    if lines:
        return quote_line(f"log of {workload.name}", lines[0].text, pattern)
    return quote(workload, "is short of ready pods or restarts; its log says nothing about it")


def is_troubled(snapshot: Snapshot, workload: Ref) -> bool:
    """Whether a workload is short, or its containers were restarted."""
    return is_short(snapshot, workload) or any(restarts(pod) for _, pod in snapshot.pods_of(workload))


def others_value(
    snapshot: Snapshot, own: Ref, secret: Secret, pattern: re.Pattern[str], *same: re.Pattern[str]
) -> str | None:
    """What most other secrets for the same server say, where at least two agree; None where they do not."""
    wanted = [setting(secret, key) for key in same]
    values: Counter[str] = Counter()
    for ref, manifest in snapshot.of_kind("Secret"):
        data = dig(manifest, "stringData")
        if ref == own or not isinstance(data, Mapping):
            continue
        other = {str(key): str(value) for key, value in data.items()}
        settings = [setting(other, key) for key in same]
        is_same = all(a is not None and b is not None and a[1] == b[1] for a, b in zip(wanted, settings, strict=True))
        value = setting(other, pattern)
        if is_same and value:
            values[value[1]] += 1
    common = values.most_common(1)
    return common[0][0] if common and common[0][1] >= 2 else None
