"""What services select: workloads by the labels of their pods, and the ports that these open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from holdfast_sre.diagnosis.symptoms import is_short, ready
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, containers_of, dig


def routes(snapshot: Snapshot) -> Iterator[tuple[Ref, Manifest, dict[str, str]]]:
    """Services that exist and have a selector."""
    for ref, service in snapshot.of_kind("Service"):
        selector = dig(service, "spec.selector")
        if snapshot.exists(ref) and isinstance(selector, dict) and selector:
            yield ref, service, selector


def labels_of(snapshot: Snapshot, workload: Ref) -> dict[str, str]:
    """The labels that a workload's pods get."""
    labels = dig(snapshot.manifest(workload), "spec.template.metadata.labels")
    return dict(labels) if isinstance(labels, dict) else {}


def matches(selector: dict[str, str], labels: dict[str, str]) -> bool:
    """Whether labels have all pairs of a selector."""
    return all(labels.get(key) == value for key, value in selector.items())


def is_ready(snapshot: Snapshot, workload: Ref) -> bool:
    """Whether as many replicas are ready as are asked for, and at least one."""
    return ready(snapshot.live.get(workload, {})) > 0 and not is_short(snapshot, workload)


def open_ports(snapshot: Snapshot, selector: dict[str, str]) -> tuple[list[Ref], list[dict[str, Any]]]:
    """The workloads behind a selector, and the ports that their containers open."""
    behind = [ref for ref in snapshot.workloads if matches(selector, labels_of(snapshot, ref))]
    ports = [
        port for ref in behind for item in containers_of(snapshot.manifest(ref)) for port in item.get("ports") or ()
    ]
    return behind, ports
