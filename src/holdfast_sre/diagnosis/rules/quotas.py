"""Namespaces whose quota keeps something from being created."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Evidence, Finding, Rule, quote
from holdfast_sre.diagnosis.symptoms import desired, events_by_reason, is_short
from holdfast_sre.evidence.quantities import quantity
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, dig, pod_spec_of

_RESOURCES: dict[str, tuple[str, ...]] = {
    "cpu": ("requests.cpu", "limits.cpu", "cpu"),
    "memory": ("requests.memory", "limits.memory", "memory"),
    "pods": ("pods", "count/pods"),
    "services": ("services", "count/services", "services.loadbalancers", "services.nodeports"),
    "storage": ("requests.storage", "persistentvolumeclaims", "count/persistentvolumeclaims"),
}


_BY_CLASS = ".storageclass.storage.k8s.io/"
"""What stands between a storage class and what a quota allows of it."""


def _refused_pods(snapshot: Snapshot, names: tuple[str, ...]) -> Iterator[Evidence]:
    for workload in snapshot.workloads:
        if not is_short(snapshot, workload):
            continue
        for event in events_by_reason(snapshot, workload, "FailedCreate"):
            requested = event.message.partition("exceeded quota:")[2].partition("requested: ")[2]
            if any(requested.startswith(f"{name}=") for name in names):
                yield quote(event.about, event.message)
                break


def _full_for_pods(snapshot: Snapshot, names: tuple[str, ...]) -> Iterator[Evidence]:
    """Where no event tells why: a workload has fewer pods than desired, and one more would not fit the quota."""
    for workload in snapshot.workloads:
        live = snapshot.live.get(workload)
        if live is None or len(snapshot.pods_of(workload)) >= desired(live) or not is_short(snapshot, workload):
            continue
        if events_by_reason(snapshot, workload, "FailedCreate"):
            continue
        spec = pod_spec_of(snapshot.manifest(workload))
        for ref, quota in snapshot.of_kind("ResourceQuota"):
            used, hard = dig(quota, "status.used") or {}, dig(quota, "status.hard") or {}
            for name in names:
                amount, limit = quantity(used.get(name, "0")), quantity(hard.get(name))
                if amount is not None and limit is not None and amount + _asked(spec, name) > limit:
                    yield quote(ref, f"{name}: {used.get(name)} of {hard[name]} used")
                    yield quote(workload, "has fewer pods than desired, and no event tells why")


def _asked(spec: Manifest, name: str) -> float:
    """What one more pod would use of a quota."""
    part, _, resource = name.rpartition(".")
    if resource not in ("cpu", "memory"):
        return 1.0
    amounts = (dig(item, f"resources.{part or 'requests'}.{resource}") for item in spec.get("containers") or ())
    return sum(quantity(amount) or 0.0 for amount in amounts)


def _absent(snapshot: Snapshot, kind: str) -> list[Ref]:
    """Declared objects of a kind that the cluster does not have."""
    return [ref for ref, _ in snapshot.of_kind(kind) if ref in snapshot.declared and not snapshot.exists(ref)]


def _is_exceeded(snapshot: Snapshot, used: str, hard: str, name: str, absent: list[Ref]) -> bool:
    """Whether the smallest of the absent objects would not fit."""
    amount, limit = quantity(used), quantity(hard)
    if amount is None or limit is None:
        return False
    sizes = [
        (quantity(dig(snapshot.manifest(ref), "spec.resources.requests.storage")) or 0.0)
        if name.endswith("storage")
        else 1.0
        for ref in absent
    ]
    return amount + min(sizes) > limit


def _full(snapshot: Snapshot, names: tuple[str, ...], kind: str) -> Iterator[Evidence]:
    """Objects of a kind that no event tells of: declared, absent, and the quota for them has no room."""
    absent = _absent(snapshot, kind)
    if not absent:
        return
    for ref, quota in snapshot.of_kind("ResourceQuota"):
        used, hard = dig(quota, "status.used") or {}, dig(quota, "status.hard") or {}
        for name in (
            key for key in hard if key in names or key.endswith(tuple(f"{_BY_CLASS}{part}" for part in names))
        ):
            if _is_exceeded(snapshot, used.get(name, "0"), hard[name], name, absent):
                yield quote(ref, f"{name}: {used.get(name)} of {hard[name]} used")
                yield quote(absent[0], "declared, but the cluster does not have it")


def _find(snapshot: Snapshot, resource: str) -> Iterator[Finding]:
    names = _RESOURCES[resource]
    kinds = {"services": "Service", "storage": "PersistentVolumeClaim"}
    if resource in kinds:
        evidence = tuple(_full(snapshot, names, kinds[resource]))
    else:
        evidence = tuple(_refused_pods(snapshot, names))
    confidence = 0.97
    if not evidence and resource not in kinds:
        evidence, confidence = tuple(_full_for_pods(snapshot, names)), 0.8
    if evidence:
        yield Finding(f"quota-{resource}", Ref("Namespace", snapshot.namespace), confidence, evidence[:3])


def _rule(resource: str) -> Rule:
    return Rule(
        id=f"quota-{resource}",
        title=f"The namespace's quota for {resource} is used up",
        holds=f"something declared is absent, and the quota for {resource} refuses it",
        mending="lower what is asked for, or have the owner of the quota raise it",
        proof="the quota has room, and the objects exist",
        repair="escalate",
        find=lambda snapshot: _find(snapshot, resource),
    )


RULES = tuple(_rule(resource) for resource in _RESOURCES)
