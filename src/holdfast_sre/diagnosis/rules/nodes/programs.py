"""Programs that the host says are not running."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Evidence, quote
from holdfast_sre.diagnosis.rules.nodes.unready import unready_conditions
from holdfast_sre.diagnosis.symptoms import pending_pods
from holdfast_sre.evidence.snapshot import NodeAgent, Ref, Snapshot


def stopped(snapshot: Snapshot, program: str) -> Iterator[tuple[Ref, tuple[Evidence, ...]]]:
    """The nodes on which the program is down, with what that explains: an unready node, pods that wait in silence."""
    for agent in snapshot.agents:
        if agent.agent == program and not agent.is_active:
            told = quote(f"{program} on node {agent.node}", agent.text)
            yield Ref("Node", agent.node), (told, *_symptoms(snapshot, agent))[:3]


def _symptoms(snapshot: Snapshot, agent: NodeAgent) -> Iterator[Evidence]:
    node = Ref("Node", agent.node)
    for found in unready_conditions(node, snapshot.live.get(node, {})):
        yield quote(node, f"Ready is {found.status}: {found.message}")
    if agent.agent == "kube-scheduler":
        for _, pod in unheard_pods(snapshot):
            yield quote(pod, "waits for a node and no event tells why")


def unheard_pods(snapshot: Snapshot) -> Iterator[tuple[Ref, Ref]]:
    """The workloads and pods that wait for a node without a word from a scheduler."""
    for workload in snapshot.workloads:
        for pod, _ in pending_pods(snapshot, workload):
            if not snapshot.events_of(pod):
                yield workload, pod
