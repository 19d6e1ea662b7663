"""Pods that must not be on one node with each other; where no event tells it, the pods on the nodes do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from holdfast_sre.diagnosis.findings import Evidence, Field, Finding, Rule, quote
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.diagnosis.scheduling import is_selected
from holdfast_sre.diagnosis.symptoms import pending_pods, unplaced
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, dig, pod_spec_of

_REQUIRED = "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution"


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    told = {workload for workload, _, _ in unplaced(snapshot)}
    for workload, pod, message in unplaced(snapshot):
        terms = _terms(snapshot, workload)
        if terms and "anti-affinity" in message:
            yield _finding(workload, terms, 0.95, quote(pod, message))
    for workload in snapshot.workloads:
        waiting = [] if workload in told else pending_pods(snapshot, workload)
        terms = _terms(snapshot, workload)
        if waiting and terms and not snapshot.events_of(waiting[0][0]) and _is_crowded(snapshot, terms):
            yield _finding(workload, terms, 0.7, quote(waiting[0][0], "waits for a node, and no event tells why"))


def _terms(snapshot: Snapshot, workload: Ref) -> Any:
    return dig(pod_spec_of(snapshot.manifest(workload)), _REQUIRED)


def _finding(workload: Ref, terms: Any, confidence: float, told: Evidence) -> Finding:
    evidence = (told, quote(workload, f"required anti-affinity: {leaves(terms)}"))
    blames = (Field(workload, "spec.template.spec.affinity.podAntiAffinity"), Field(workload, "spec.replicas"))
    return Finding("pod-anti-affinity", workload, confidence, evidence, blames)


def _is_crowded(snapshot: Snapshot, terms: Any) -> bool:
    """Whether every open node has a pod that the workload's pods keep apart from."""
    pods = [pod for _, pod in snapshot.of_kind("Pod") if dig(pod, "spec.nodeName")]
    taken = {str(dig(pod, "spec.nodeName")) for pod in pods if any(_is_avoided(term, pod) for term in terms)}
    open_nodes = {ref.name for ref, node in snapshot.of_kind("Node") if not dig(node, "spec.unschedulable")}
    return bool(open_nodes) and open_nodes <= taken


def _is_avoided(term: Mapping[str, Any], pod: Manifest) -> bool:
    labels = {str(key): str(value) for key, value in (dig(pod, "metadata.labels") or {}).items()}
    wanted = dig(term, "labelSelector.matchLabels") or {}
    expressions = dig(term, "labelSelector.matchExpressions") or ()
    return bool(wanted or expressions) and (
        all(labels.get(str(key)) == str(value) for key, value in wanted.items())
        and all(is_selected(expression, labels) for expression in expressions)
    )


RULE = Rule(
    id="pod-anti-affinity",
    title="Pods keep apart from each other on more nodes than there are",
    holds="a pod waits, its anti-affinity is required, and the scheduler or the pods on every open node tell of it",
    mending="put back the last anti-affinity and number of replicas that were placed",
    proof="all pods are placed and become ready",
    repair="patch",
    find=_find,
)
