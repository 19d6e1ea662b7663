"""The third sieve, by a wish: nodes that take only the pods which tolerate them."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule
from holdfast_sre.diagnosis.rules.placement.kept_out import kept_out, tolerations
from holdfast_sre.diagnosis.scheduling import CONDITION_TAINTS, reasons
from holdfast_sre.evidence.snapshot import Snapshot

SYMPTOM = 0.4
"""How sure the rule is of taints that the control plane sets: a node in trouble is the cause."""


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for found in kept_out(snapshot, "taint"):
        confidence = SYMPTOM if _is_condition(found.message) else found.confidence
        evidence = found.evidence(tolerations(snapshot, found.workload))
        yield Finding("node-taint", found.workload, confidence, evidence)


def _is_condition(message: str) -> bool:
    """Whether all the taints that the scheduler names are the control plane's own."""
    taints = [reason.partition("{")[2] for reason in reasons(message) if "untolerated taint" in reason]
    return bool(taints) and all(taint.startswith(CONDITION_TAINTS) for taint in taints)


RULE = Rule(
    id="node-taint",
    title="The nodes that would take the pod have a taint it does not tolerate",
    holds="a pod waits, and the nodes that satisfy its selector and affinity are closed, most of them by a taint",
    mending="find who tainted the nodes and why; remove the taint, or decide that the pod may tolerate it",
    proof="the pod is placed and becomes ready",
    repair="escalate",
    find=_find,
)
