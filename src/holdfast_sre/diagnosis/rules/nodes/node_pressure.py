"""Nodes that put pods out because they are short of something themselves."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule, quote
from holdfast_sre.evidence.snapshot import Snapshot, dig


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    """Nodes that put pods out because they are short of something themselves."""
    for ref, node in snapshot.of_kind("Node"):
        for condition in dig(node, "status.conditions") or ():
            kind = str(condition.get("type", ""))
            if kind in ("MemoryPressure", "DiskPressure", "PIDPressure") and condition.get("status") == "True":
                gone = [
                    quote(pod, f"was put out: {dig(body, 'status.message') or ''}")
                    for pod, body in snapshot.of_kind("Pod")
                    if dig(body, "status.reason") == "Evicted" and dig(body, "spec.nodeName") in (ref.name, None)
                ]
                evidence = (quote(ref, f"{kind}: {condition.get('message', '')}"), *gone[:2])
                yield Finding("node-pressure", ref, 0.9 if gone else 0.7, evidence)


RULE = Rule(
    id="node-pressure",
    title="A node is short of memory, disk or process numbers",
    holds="a pressure condition of the node is True",
    mending="cordon the node, find what fills it (largest pods, images, logs), free it or add a node; uncordon",
    proof="the condition is False, no pod is put out",
    repair="escalate",
    find=_find,
)
