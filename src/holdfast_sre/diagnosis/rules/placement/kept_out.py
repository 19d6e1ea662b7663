"""Workloads with a pod that one constraint keeps from every node, by the scheduler's message and by the nodes."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from holdfast_sre.diagnosis.findings import Evidence, quote
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.diagnosis.scheduling import Obstacle, blamed, judge
from holdfast_sre.diagnosis.symptoms import pending_pods, unplaced
from holdfast_sre.evidence.snapshot import Ref, Snapshot, pod_spec_of

TOLD = 0.95
"""How sure a finding is that the scheduler's message agrees with."""
UNTOLD = 0.6
"""How sure one is that rests on the nodes alone, because no event tells of the pod."""


class KeptOut(msgspec.Struct, frozen=True):
    """A pod that waits for a node, what the scheduler says of it, what is wrong with each node, and how sure it is."""

    workload: Ref
    pod: Ref
    message: str
    nodes: str
    confidence: float

    def evidence(self, wanted: str) -> tuple[Evidence, ...]:
        """What is told, what the workload wants, and what the nodes are like."""
        return (
            quote(self.pod, self.message or "waits for a node, and no event tells why"),
            quote(self.workload, wanted),
            quote("nodes", self.nodes or "none recorded"),
        )


def kept_out(snapshot: Snapshot, obstacle: Obstacle) -> Iterator[KeptOut]:
    """The workloads with a pod that this obstacle keeps from all nodes, those that the scheduler tells of first."""
    waits = [(workload, pod, message, TOLD) for workload, pod, message in unplaced(snapshot)]
    told = {workload for workload, _, _, _ in waits}
    for workload in snapshot.workloads:
        waiting = pending_pods(snapshot, workload)
        if waiting and workload not in told and not snapshot.events_of(waiting[0][0]):
            waits.append((workload, waiting[0][0], "", UNTOLD))
    for workload, pod, message, confidence in waits:
        verdicts = judge(snapshot, workload)
        if blamed(snapshot, workload, verdicts, message) == obstacle:
            nodes = "; ".join(f"{verdict.node}: {', '.join(verdict.obstacles)}" for verdict in verdicts)
            yield KeptOut(workload, pod, message, nodes, confidence)


def tolerations(snapshot: Snapshot, workload: Ref) -> str:
    """For people, what closed nodes the workload's pods would take."""
    return f"tolerations: {leaves(pod_spec_of(snapshot.manifest(workload)).get('tolerations')) or 'none'}"
