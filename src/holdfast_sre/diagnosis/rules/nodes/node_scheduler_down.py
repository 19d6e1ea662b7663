"""The scheduler is down, by word of the host, or of pods that would find a node and that nobody tells anything."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule, quote
from holdfast_sre.diagnosis.rules.nodes.programs import stopped, unheard_pods
from holdfast_sre.diagnosis.scheduling import blamed, is_control_plane, judge
from holdfast_sre.evidence.snapshot import Snapshot

_PROGRAM = "kube-scheduler"


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    yield from _silent(snapshot)
    for node, evidence in stopped(snapshot, _PROGRAM):
        yield Finding("node-scheduler-down", node, 0.98, evidence)


def _silent(snapshot: Snapshot) -> Iterator[Finding]:
    """Pods that wait for a node without a word from a scheduler that nothing was recorded about."""
    if any(agent.agent == _PROGRAM for agent in snapshot.agents) or not snapshot.events:
        return
    unheard = [
        pod
        for workload, pod in unheard_pods(snapshot)
        if blamed(snapshot, workload, judge(snapshot, workload), "") is None
    ]
    nodes = [ref for ref, node in snapshot.of_kind("Node") if is_control_plane(node)]
    if unheard and nodes:
        evidence = [quote(pod, "waits for a node that would take it, and no event tells why") for pod in unheard[:3]]
        yield Finding("node-scheduler-down", nodes[0], 0.75, tuple(evidence))


RULE = Rule(
    id="node-scheduler-down",
    title="kube-scheduler is down: no pod finds a node",
    holds="the host says that kube-scheduler is not running, or where nobody asked the host the cluster's own signs do",
    mending="cordon the node, read the journal of kube-scheduler, start it, uncordon",
    proof="the program runs, the node is Ready, pods start",
    repair="escalate",
    find=_find,
)
