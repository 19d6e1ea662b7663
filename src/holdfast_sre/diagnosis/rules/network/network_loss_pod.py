"""Pods whose own segments are counted; without such a count loss and delay of one pod look alike."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule, quote
from holdfast_sre.diagnosis.latency import rises
from holdfast_sre.diagnosis.rules.network.retransmissions import is_loss, retransmitting
from holdfast_sre.diagnosis.symptoms import workload_named
from holdfast_sre.evidence.snapshot import Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    resent = retransmitting(snapshot, "Service")
    if resent is None or retransmitting(snapshot, "Node") is not None:
        return
    worst = max((rise.current_ms for rise in rises(snapshot).values()), default=0.0)
    if is_loss(resent, worst):
        evidence = (quote(resent.subject, resent.text), quote(resent.subject, "its node sends nothing again"))
        yield Finding("network-loss-pod", workload_named(snapshot, resent.subject.name), 0.92, evidence)


RULE = Rule(
    id="network-loss-pod",
    title="The network of one service's pods loses packets",
    holds="the pods of one service send TCP segments again, many for their latency, and their node does not",
    mending="look at the pods' interface and at policies that drop; start the pods on another node",
    proof="no more retransmissions than normal",
    repair="escalate",
    find=_find,
)
