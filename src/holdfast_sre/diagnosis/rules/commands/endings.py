"""What containers say before they end, and what is told of those that cannot start."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Evidence, Field, quote, quote_line
from holdfast_sre.diagnosis.symptoms import container_path, events_by_reason, is_short, restarts, statuses
from holdfast_sre.evidence.snapshot import Ref, Snapshot, containers_of, dig


def failing(snapshot: Snapshot) -> Iterator[Ref]:
    """Workloads that are short, with a container that ended, was restarted or is held back."""
    for workload in snapshot.workloads:
        if is_short(snapshot, workload) and any(
            restarts(pod) or dig(status, "state.waiting") or dig(status, "state.terminated")
            for _, pod in snapshot.pods_of(workload)
            for status in statuses(pod)
        ):
            yield workload


def told(snapshot: Snapshot, workload: Ref) -> Iterator[tuple[Evidence, str]]:
    """What the kubelet tells of containers that ended or cannot start: as evidence, and the whole text."""
    for ref, pod in snapshot.pods_of(workload):
        for status in statuses(pod):
            held = dig(status, "state.waiting") or {}
            for ended in (dig(status, "state.terminated"), dig(status, "lastState.terminated")):
                if ended and ended.get("exitCode"):
                    text = f"exit code {ended['exitCode']}: {ended.get('reason', '')} {ended.get('message', '')}"
                    yield quote(ref, text), text
            if held.get("message"):
                yield quote(ref, str(held["message"])), str(held["message"])
    for event in events_by_reason(snapshot, workload, "Failed", "BackOff"):
        yield quote(event.about, event.message), event.message


def complaints(snapshot: Snapshot, workload: Ref, pattern: re.Pattern[str]) -> tuple[Evidence, ...]:
    """What the pattern is in of what the kubelet tells, then of the log; at most three."""
    found = [evidence for evidence, text in told(snapshot, workload) if pattern.search(text)]
    found += [
        quote_line(f"log of {workload.name}", line.text, pattern)
        for line in snapshot.logs_of(workload.name)
        if pattern.search(line.text)
    ]
    return tuple(found[:3])


def fields(snapshot: Snapshot, workload: Ref, *parts: str) -> tuple[Field, ...]:
    """These parts of each of the workload's containers."""
    names = [str(item["name"]) for item in containers_of(snapshot.manifest(workload))]
    return tuple(Field(workload, f"{container_path(name)}.{part}") for name in names for part in parts)
