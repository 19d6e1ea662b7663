"""The third sieve, by a person's hand: nodes that take no new pods at all."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule
from holdfast_sre.diagnosis.rules.placement.kept_out import kept_out, tolerations
from holdfast_sre.evidence.snapshot import Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for found in kept_out(snapshot, "cordon"):
        evidence = found.evidence(tolerations(snapshot, found.workload))
        yield Finding("node-cordoned", found.workload, found.confidence, evidence)


RULE = Rule(
    id="node-cordoned",
    title="The nodes that would take the pod are cordoned",
    holds="a pod waits, and the nodes that satisfy its selector and affinity are closed, most of them by a cordon",
    mending="find who cordoned the nodes and why; uncordon them when that work is done",
    proof="the pod is placed and becomes ready",
    repair="escalate",
    find=_find,
)
