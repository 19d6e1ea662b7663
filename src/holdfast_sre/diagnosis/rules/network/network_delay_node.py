"""A node sends again what comes late: little for the latency that it causes."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule
from holdfast_sre.diagnosis.rules.network.retransmissions import resending_node
from holdfast_sre.evidence.snapshot import Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    found = resending_node(snapshot)
    if found is not None and not found.is_loss:
        yield Finding("network-delay-node", found.node, found.confidence, found.evidence)


RULE = Rule(
    id="network-delay-node",
    title="The network of a node is slow",
    holds="a node sends TCP segments again, few for the latency that services show",
    mending="cordon the node, look at its link, its queues and its neighbours; uncordon when it is well",
    proof="latencies are back at their normal values",
    repair="escalate",
    find=_find,
)
