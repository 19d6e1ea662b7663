"""Pods that must be spread evenly over what the nodes do not offer evenly."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.diagnosis.symptoms import unplaced
from holdfast_sre.evidence.snapshot import Snapshot, pod_spec_of


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for workload, pod, message in unplaced(snapshot):
        spread = pod_spec_of(snapshot.manifest(workload)).get("topologySpreadConstraints")
        if spread and "topology spread constraints" in message:
            evidence = (quote(pod, message), quote(workload, f"topology spread: {leaves(spread)}"))
            blames = (Field(workload, "spec.template.spec.topologySpreadConstraints"),)
            yield Finding("pod-topology-spread", workload, 0.95, evidence, blames)


RULE = Rule(
    id="pod-topology-spread",
    title="The pods may not be spread as unevenly as the nodes make necessary",
    holds="a pod waits, and the scheduler names its topology spread constraints",
    mending="put back the last constraints and number of replicas that were placed",
    proof="all pods are placed and become ready",
    repair="patch",
    find=_find,
)
