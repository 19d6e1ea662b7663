"""The proxy is down, by word of the host alone: no condition of the node tells of it."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule
from holdfast_sre.diagnosis.rules.nodes.programs import stopped
from holdfast_sre.evidence.snapshot import Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for node, evidence in stopped(snapshot, "kube-proxy"):
        yield Finding("node-proxy-down", node, 0.98, evidence)


RULE = Rule(
    id="node-proxy-down",
    title="kube-proxy is down: virtual addresses of services do not work from the node",
    holds="the host says that kube-proxy is not running, or where nobody asked the host the cluster's own signs do",
    mending="cordon the node, read the journal of kube-proxy, start it, uncordon",
    proof="the program runs, the node is Ready, pods start",
    repair="escalate",
    find=_find,
)
