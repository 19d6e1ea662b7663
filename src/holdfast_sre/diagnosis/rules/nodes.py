"""Programs of the host that are down: kubelet, container runtime, proxy, scheduler."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Evidence, Finding, Rule, quote
from holdfast_sre.diagnosis.scheduling import blamed, is_control_plane, judge
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


_STOPPED = re.compile(r"stopped posting node status|NodeStatusUnknown", re.IGNORECASE)
_RUNTIME = re.compile(r"container runtime|PLEG is not healthy|containerd|runtime network not ready", re.IGNORECASE)


def _by_conditions(snapshot: Snapshot, part: str) -> Iterator[Finding]:
    """What the cluster itself tells of a node's programs, where nothing was recorded about them."""
    watched = {agent.node for agent in snapshot.agents}
    for ref, node in snapshot.of_kind("Node"):
        for condition in dig(node, "status.conditions") or ():
            told = f"{condition.get('reason', '')} {condition.get('message', '')}"
            is_down = condition.get("type") == "Ready" and condition.get("status") != "True"
            if not is_down or ref.name in watched:
                continue
            at_fault = "container-runtime" if _RUNTIME.search(told) else "kubelet" if _STOPPED.search(told) else None
            if at_fault == part:
                yield Finding(
                    f"node-{part}-down", ref, 0.85, (quote(ref, f"Ready is {condition.get('status')}: {told}"),)
                )


def _by_silence(snapshot: Snapshot) -> Iterator[Finding]:
    """Pods that wait for a node without a word from a scheduler that nothing was recorded about."""
    if any(agent.agent == _AGENTS["scheduler"][0] for agent in snapshot.agents) or not snapshot.events:
        return
    unheard = [
        (workload, pod)
        for workload in snapshot.workloads
        for pod, _ in pending_pods(snapshot, workload)
        if not snapshot.events_of(pod) and blamed(snapshot, workload, judge(snapshot, workload), "") is None
    ]
    nodes = [ref for ref, node in snapshot.of_kind("Node") if is_control_plane(node)]
    if unheard and nodes:
        evidence = [quote(pod, "waits for a node that would take it, and no event tells why") for _, pod in unheard[:3]]
        yield Finding("node-scheduler-down", nodes[0], 0.75, tuple(evidence))


def _find(snapshot: Snapshot, part: str) -> Iterator[Finding]:
    yield from _by_conditions(snapshot, part)
    if part == "scheduler":
        yield from _by_silence(snapshot)
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
        holds=f"the host says that {program} is not running, or where nobody asked the host the cluster's own signs do",
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
            told = f"{condition.get('reason', '')} {condition.get('message', '')}"
            if is_down and ref.name not in watched and not _RUNTIME.search(told) and not _STOPPED.search(told):
                text = f"Ready is {condition.get('status')}: {condition.get('message', '')}"
                yield Finding("node-not-ready", ref, 0.8, (quote(ref, text),))


def _find_pressure(snapshot: Snapshot) -> Iterator[Finding]:
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


RULES = (
    *(_rule(part) for part in _AGENTS),
    Rule(
        id="node-pressure",
        title="A node is short of memory, disk or process numbers",
        holds="a pressure condition of the node is True",
        mending="cordon the node, find what fills it (largest pods, images, logs), free it or add a node; uncordon",
        proof="the condition is False, no pod is put out",
        repair="escalate",
        find=_find_pressure,
    ),
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
