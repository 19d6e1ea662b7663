"""The first sieve: the labels that a node must have, each with its value."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.diagnosis.rules.placement.kept_out import kept_out
from holdfast_sre.evidence.snapshot import Snapshot, pod_spec_of


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for found in kept_out(snapshot, "node-selector"):
        wanted = f"nodeSelector: {leaves(pod_spec_of(snapshot.manifest(found.workload)).get('nodeSelector'))}"
        blames = (Field(found.workload, "spec.template.spec.nodeSelector"),)
        yield Finding("node-selector", found.workload, found.confidence, found.evidence(wanted), blames)


RULE = Rule(
    id="node-selector",
    title="No node has the labels of the node selector",
    holds="a pod waits, and no node satisfies its node selector",
    mending="put back the last node selector that was placed",
    proof="the pod is placed and becomes ready",
    repair="patch",
    find=_find,
)
