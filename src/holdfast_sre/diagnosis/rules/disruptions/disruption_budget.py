"""A budget that nothing can satisfy; one that guards pods that are down does its work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.diagnosis.symptoms import desired, is_short
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, dig


def _is_behind(snapshot: Snapshot, budget: Manifest, workload: Ref) -> bool:
    labels: Mapping[str, str] = dig(snapshot.manifest(workload), "spec.template.metadata.labels") or {}
    wanted: Mapping[str, str] = dig(budget, "spec.selector.matchLabels") or {}
    return bool(wanted) and all(labels.get(key) == value for key, value in wanted.items())


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for ref, budget in snapshot.of_kind("PodDisruptionBudget"):
        status = dig(snapshot.live.get(ref, {}), "status") or {}
        if status.get("disruptionsAllowed") != 0:
            continue
        behind = [workload for workload in snapshot.workloads if _is_behind(snapshot, budget, workload)]
        if not behind or any(is_short(snapshot, workload) for workload in behind):
            continue  # Pods that are down for another reason are that reason's matter.
        replicas = sum(desired(snapshot.manifest(workload)) for workload in behind)
        limits = {key: dig(budget, f"spec.{key}") for key in ("minAvailable", "maxUnavailable")}
        told = ", ".join(f"{key} {value}" for key, value in limits.items() if value is not None)
        blocked = [
            event for event in snapshot.events if "disruption budget" in event.message and ref.name in event.message
        ]
        evidence = [
            quote(ref, f"{told}; no disruption allowed"),
            quote(behind[0], f"has {replicas} replicas, all ready"),
        ]
        evidence += [quote(event.about, event.message) for event in blocked[:1]]
        blames = (Field(ref, "spec.minAvailable"), Field(ref, "spec.maxUnavailable"), Field(behind[0], "spec.replicas"))
        yield Finding("disruption-budget", ref, 0.85 if blocked else 0.35, tuple(evidence), blames)


RULE = Rule(
    id="disruption-budget",
    title="The disruption budget lets no pod go",
    holds="no disruption is allowed although every pod behind the budget is ready",
    mending="put back the budget or the replicas; a budget is a promise, so its owner decides",
    proof="the budget allows a disruption",
    repair="escalate",
    find=_find,
)
