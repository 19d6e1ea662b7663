"""Quotas that keep pods away: by the refusals, and where no event tells of one by what the quota has left."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Evidence, Finding, quote
from holdfast_sre.diagnosis.symptoms import desired, events_by_reason, is_short
from holdfast_sre.evidence.quantities import quantity
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, dig, pod_spec_of


def full_for_pods(snapshot: Snapshot, rule: str, *names: str) -> Iterator[Finding]:
    """What the rule finds: that a quota, under one of its names, has no room for a pod that is missing."""
    evidence, confidence = tuple(_refusals(snapshot, names)), 0.97
    if not evidence:
        evidence, confidence = tuple(_untold(snapshot, names)), 0.8
    if evidence:
        yield Finding(rule, Ref("Namespace", snapshot.namespace), confidence, evidence[:3])


def _refusals(snapshot: Snapshot, names: tuple[str, ...]) -> Iterator[Evidence]:
    for workload in snapshot.workloads:
        if not is_short(snapshot, workload):
            continue
        for event in events_by_reason(snapshot, workload, "FailedCreate"):
            requested = event.message.partition("exceeded quota:")[2].partition("requested: ")[2]
            if any(requested.startswith(f"{name}=") for name in names):
                yield quote(event.about, event.message)
                break


def _untold(snapshot: Snapshot, names: tuple[str, ...]) -> Iterator[Evidence]:
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
