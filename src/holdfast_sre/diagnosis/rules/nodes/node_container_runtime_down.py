"""The container runtime is down, by word of the host or of the kubelet."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule
from holdfast_sre.diagnosis.rules.nodes.programs import stopped
from holdfast_sre.diagnosis.rules.nodes.unready import blamed_nodes
from holdfast_sre.evidence.snapshot import Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for node, evidence in blamed_nodes(snapshot, "container runtime"):
        yield Finding("node-container-runtime-down", node, 0.85, evidence)
    for node, evidence in stopped(snapshot, "containerd"):
        yield Finding("node-container-runtime-down", node, 0.98, evidence)


RULE = Rule(
    id="node-container-runtime-down",
    title="containerd is down: no container can be started on the node",
    holds="the host says that containerd is not running, or where nobody asked the host the cluster's own signs do",
    mending="cordon the node, read the journal of containerd, start it, uncordon",
    proof="the program runs, the node is Ready, pods start",
    repair="escalate",
    find=_find,
)
