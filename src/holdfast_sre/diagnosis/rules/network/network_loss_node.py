"""A node sends again what is lost: much for the latency that it causes."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule
from holdfast_sre.diagnosis.rules.network.retransmissions import resending_node
from holdfast_sre.evidence.snapshot import Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    found = resending_node(snapshot)
    if found is not None and found.is_loss:
        yield Finding("network-loss-node", found.node, found.confidence, found.evidence)


RULE = Rule(
    id="network-loss-node",
    title="The network of a node loses packets",
    holds="a node sends TCP segments again, many for the latency that services show",
    mending="cordon the node, look at its link and its drops; uncordon when it is well",
    proof="no more retransmissions than normal",
    repair="escalate",
    find=_find,
)
