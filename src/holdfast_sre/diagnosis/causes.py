"""Which trouble explains which: down the nodes, the namespace, the owners and the dependencies between services."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from holdfast_sre.diagnosis.findings import Finding
from holdfast_sre.diagnosis.symptoms import short_workloads, unreached
from holdfast_sre.evidence.snapshot import Ref, Snapshot, containers_of, dig

EXPLAINED_FACTOR = 0.6
"""What is left of the confidence of a finding without a cause of its own that another one explains."""

Edges = Mapping[str, set[str]]
_HOST = re.compile(r"(?:[a-z][a-z0-9+]*://)?([a-z0-9][a-z0-9-]*)")


def reach(edges: Mapping[str, set[str]] | Mapping[str, tuple[str, ...]], name: str) -> set[str]:
    """All that one depends on, directly or through others, itself left out."""
    found: set[str] = set()
    ahead = list(edges.get(name, ()))
    while ahead:
        below = ahead.pop()
        if below not in found and below != name:
            found.add(below)
            ahead.extend(edges.get(below, ()))
    return found


def dependencies(snapshot: Snapshot) -> Edges:
    """By name of a workload the services it calls: recorded calls, and services that its settings name."""
    services = {ref.name for ref, _ in snapshot.of_kind("Service")}
    edges = {caller: set(callees) for caller, callees in snapshot.calls.items()}
    for workload in snapshot.workloads:
        for value in _settings(snapshot, workload):
            match = _HOST.match(value)
            if match and match[1] in services:
                edges.setdefault(workload.name, set()).add(match[1])
    for service in services:
        for workload in snapshot.workloads_behind(service):
            if workload.name != service:
                edges.setdefault(service, set()).add(workload.name)
    return edges


def _settings(snapshot: Snapshot, workload: Ref) -> Iterator[str]:
    for container in containers_of(snapshot.manifest(workload)):
        yield from (str(entry.get("value", "")) for entry in container.get("env") or ())
        for source in container.get("envFrom") or ():
            for kind, key, field in (("Secret", "secretRef", "stringData"), ("ConfigMap", "configMapRef", "data")):
                name = dig(source, f"{key}.name")
                data = dig(snapshot.manifest(Ref(kind, str(name))), field) if name else None
                yield from (str(value) for value in (data or {}).values())


def explains(snapshot: Snapshot, edges: Edges, cause: Ref, victim: Ref) -> bool:
    """Whether trouble with one object can be why another is in trouble."""
    if cause == victim:
        return False
    if cause.kind == "Namespace":
        return victim.kind != "Node"
    if cause.kind == "Node":
        return any(dig(pod, "spec.nodeName") == cause.name for _, pod in snapshot.pods_of(victim))
    return cause.name == victim.name or cause.name in reach(edges, victim.name)


def weighed(snapshot: Snapshot, findings: Sequence[Finding]) -> list[Finding]:
    """The findings with what each explains, those that are only symptoms of another one doubted.

    A finding that blames fields of manifests is a cause of its own, whatever else is wrong beside it. Findings of one
    rule were weighed against each other by the rule.
    """
    edges = dependencies(snapshot) if findings else {}
    troubled = set(short_workloads(snapshot))
    troubled |= {ref for ref, _ in snapshot.of_kind("Service") if unreached(snapshot, ref.name)}
    result = []
    for finding in findings:
        is_symptom = not finding.blames and any(
            other.rule != finding.rule
            and other.confidence >= EXPLAINED_FACTOR * finding.confidence
            and explains(snapshot, edges, other.object, finding.object)
            and not explains(snapshot, edges, finding.object, other.object)
            for other in findings
        )
        confidence = round(finding.confidence * (EXPLAINED_FACTOR if is_symptom else 1.0), 4)
        victims = sorted(ref for ref in troubled if explains(snapshot, edges, finding.object, ref))
        result.append(msgspec.structs.replace(finding, confidence=confidence, victims=tuple(victims)))
    return result
