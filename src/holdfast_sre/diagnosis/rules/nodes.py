"""Programs of the host that are down: kubelet, container runtime, proxy, scheduler."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Evidence, Finding, Rule, quote
from holdfast_sre.diagnosis.symptoms import pending_pods
from holdfast_sre.evidence.snapshot import NodeAgent, Ref, Snapshot, dig

_AGENTS = {
    "kubelet": ("kubelet", "the node's pods are neither started nor watched"),
    "container-runtime": ("containerd", "no container can be started on the node"),
    "proxy": ("kube-proxy", "virtual addresses of services do not work from the node"),
    "scheduler": ("kube-scheduler", "no pod finds a node"),
}


def _symptoms(snapshot: Snapshot, agent: NodeAgent) -> Iterator[Evidence]:
    """What an agent that is down explains: an unready node, pods that wait without a word from the scheduler."""
    node = Ref("Node", agent.node)
    for condition in dig(snapshot.live.get(node, {}), "status.conditions") or ():
        if condition.get("type") == "Ready" and condition.get("status") != "True":
            yield quote(node, f"Ready is {condition.get('status')}: {condition.get('message', '')}")
    if agent.agent == "kube-scheduler":
        for workload in snapshot.workloads:
            for pod, _ in pending_pods(snapshot, workload):
                if not snapshot.events_of(pod):
                    yield quote(pod, "waits for a node and no event tells why")


def _find(snapshot: Snapshot, part: str) -> Iterator[Finding]:
    program, _ = _AGENTS[part]
    down = [agent for agent in snapshot.agents if agent.agent == program and not agent.is_active]
    for agent in down:
        evidence = [quote(f"{program} on node {agent.node}", agent.text), *_symptoms(snapshot, agent)]
        yield Finding(f"node-{part}-down", Ref("Node", agent.node), 0.98, tuple(evidence[:3]))


def _rule(part: str) -> Rule:
    program, effect = _AGENTS[part]
    return Rule(
        id=f"node-{part}-down",
        title=f"{program} is down: {effect}",
        holds=f"the host says that {program} is not running",
        mending=f"cordon the node, read the journal of {program}, start it, uncordon",
        proof="the program runs, the node is Ready, pods start",
        repair="escalate",
        find=lambda snapshot: _find(snapshot, part),
    )


def _find_not_ready(snapshot: Snapshot) -> Iterator[Finding]:
    """Nodes that report no readiness, where nothing was recorded about the programs that would say why."""
    watched = {agent.node for agent in snapshot.agents}
    for ref, node in snapshot.of_kind("Node"):
        for condition in dig(node, "status.conditions") or ():
            is_down = condition.get("type") == "Ready" and condition.get("status") != "True"
            if is_down and ref.name not in watched:
                text = f"Ready is {condition.get('status')}: {condition.get('message', '')}"
                yield Finding("node-not-ready", ref, 0.8, (quote(ref, text),))


RULES = (
    *(_rule(part) for part in _AGENTS),
    Rule(
        id="node-not-ready",
        title="A node is not ready",
        holds="the node's Ready condition is not True, and nothing is recorded about its programs",
        mending="look at kubelet and container runtime on the node; cordon it meanwhile",
        proof="the node is Ready, pods start",
        repair="escalate",
        find=_find_not_ready,
    ),
)
