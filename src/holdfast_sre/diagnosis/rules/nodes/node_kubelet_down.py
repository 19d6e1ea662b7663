"""The kubelet is down, by word of the host, or of a node that stopped telling how it is."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule
from holdfast_sre.diagnosis.rules.nodes.programs import stopped
from holdfast_sre.diagnosis.rules.nodes.unready import blamed_nodes
from holdfast_sre.evidence.snapshot import Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for node, evidence in blamed_nodes(snapshot, "kubelet"):
        yield Finding("node-kubelet-down", node, 0.85, evidence)
    for node, evidence in stopped(snapshot, "kubelet"):
        yield Finding("node-kubelet-down", node, 0.98, evidence)


RULE = Rule(
    id="node-kubelet-down",
    title="kubelet is down: the node's pods are neither started nor watched",
    holds="the host says that kubelet is not running, or where nobody asked the host the cluster's own signs do",
    mending="cordon the node, read the journal of kubelet, start it, uncordon",
    proof="the program runs, the node is Ready, pods start",
    repair="escalate",
    find=_find,
)
