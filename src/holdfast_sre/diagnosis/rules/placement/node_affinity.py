"""The second sieve: the expressions that a node must satisfy."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.diagnosis.rules.placement.kept_out import kept_out
from holdfast_sre.evidence.snapshot import Snapshot, dig, pod_spec_of


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for found in kept_out(snapshot, "node-affinity"):
        wanted = (
            f"node affinity: {leaves(dig(pod_spec_of(snapshot.manifest(found.workload)), 'affinity.nodeAffinity'))}"
        )
        blames = (Field(found.workload, "spec.template.spec.affinity.nodeAffinity"),)
        yield Finding("node-affinity", found.workload, found.confidence, found.evidence(wanted), blames)


RULE = Rule(
    id="node-affinity",
    title="No node satisfies the required node affinity",
    holds="a pod waits, some node satisfies its node selector, and none its required affinity",
    mending="put back the last affinity that was placed",
    proof="the pod is placed and becomes ready",
    repair="patch",
    find=_find,
)
