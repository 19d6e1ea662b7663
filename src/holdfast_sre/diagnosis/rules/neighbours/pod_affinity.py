"""Pods that must be on one node with others, which are nowhere."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.diagnosis.symptoms import unplaced
from holdfast_sre.evidence.snapshot import Snapshot, dig, pod_spec_of

_REQUIRED = "affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution"


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for workload, pod, message in unplaced(snapshot):
        terms = dig(pod_spec_of(snapshot.manifest(workload)), _REQUIRED)
        if terms and "pod affinity rules" in message:
            evidence = (quote(pod, message), quote(workload, f"required affinity to pods: {leaves(terms)}"))
            blames = (Field(workload, "spec.template.spec.affinity.podAffinity"),)
            yield Finding("pod-affinity", workload, 0.95, evidence, blames)


RULE = Rule(
    id="pod-affinity",
    title="The pods that this one must be near are on no node that takes it",
    holds="a pod waits, the scheduler names its affinity to other pods, and that affinity is required",
    mending="put back the last affinity that was placed, or bring back the pods it names",
    proof="all pods are placed and become ready",
    repair="patch",
    find=_find,
)
