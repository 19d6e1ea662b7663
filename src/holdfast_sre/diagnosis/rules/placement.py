"""Pods that find no node: selector, affinity, cordon, taint, size, and pods that keep apart."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.diagnosis.scheduling import Obstacle, culprit, judge, requested
from holdfast_sre.diagnosis.symptoms import container_path, events_by_reason, pending_pods
from holdfast_sre.evidence.snapshot import Ref, Snapshot, containers_of, dig, pod_spec_of

_SPEC = "spec.template.spec"
_ANTI_AFFINITY = "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution"
_CONDITION_TAINT = "untolerated taint {node.kubernetes.io/"
_SIGNS: dict[Obstacle, str] = {
    "node-selector": "node affinity/selector",
    "node-affinity": "node affinity/selector",
    "cordon": "unschedulable",
    "taint": "untolerated taint",
    "cpu": "Insufficient cpu",
    "memory": "Insufficient memory",
}


def _unplaced(snapshot: Snapshot) -> Iterator[tuple[Ref, Ref, str]]:
    """Workloads with a pod that waits for a node, the pod, and the scheduler's latest message about it."""
    for workload in snapshot.workloads:
        pods = {ref for ref, _ in pending_pods(snapshot, workload)}
        told = [event for event in events_by_reason(snapshot, workload, "FailedScheduling") if event.about in pods]
        if told:
            yield workload, told[0].about, told[0].message


def _find(snapshot: Snapshot, obstacle: Obstacle, rule: str) -> Iterator[Finding]:
    for workload, pod, message in _unplaced(snapshot):
        if _SIGNS[obstacle] not in message:
            continue
        verdicts = judge(snapshot, workload)
        if culprit(verdicts) != obstacle:
            continue
        wanted = _wanted(snapshot, workload, obstacle)
        nodes = "; ".join(f"{verdict.node}: {', '.join(verdict.obstacles)}" for verdict in verdicts)
        evidence = (quote(pod, message), quote(workload, wanted), quote("nodes", nodes))
        # Taints of this prefix are the control plane's answer to a node in trouble: a symptom, not somebody's wish.
        is_symptom = obstacle == "taint" and _CONDITION_TAINT in message
        yield Finding(rule, workload, 0.4 if is_symptom else 0.95, evidence, _blames(snapshot, workload, obstacle))


def _wanted(snapshot: Snapshot, workload: Ref, obstacle: Obstacle) -> str:
    spec = pod_spec_of(snapshot.manifest(workload))
    match obstacle:
        case "node-selector":
            return f"nodeSelector: {leaves(spec.get('nodeSelector'))}"
        case "node-affinity":
            return f"node affinity: {leaves(dig(spec, 'affinity.nodeAffinity'))}"
        case "cpu" | "memory":
            return f"asks for {obstacle} {requested(spec, obstacle):g} in all"
        case _:
            return f"tolerations: {leaves(spec.get('tolerations')) or 'none'}"


def _blames(snapshot: Snapshot, workload: Ref, obstacle: Obstacle) -> tuple[Field, ...]:
    match obstacle:
        case "node-selector":
            return (Field(workload, f"{_SPEC}.nodeSelector"),)
        case "node-affinity":
            return (Field(workload, f"{_SPEC}.affinity.nodeAffinity"),)
        case "cpu" | "memory":
            names = [str(container["name"]) for container in containers_of(snapshot.manifest(workload))]
            return tuple(
                Field(workload, f"{container_path(name)}.resources.{part}.{obstacle}")
                for name in names
                for part in ("requests", "limits")
            )
        case _:
            return ()


def _find_apart(snapshot: Snapshot) -> Iterator[Finding]:
    for workload, pod, message in _unplaced(snapshot):
        spec = pod_spec_of(snapshot.manifest(workload))
        required = dig(spec, _ANTI_AFFINITY)
        if required and "anti-affinity" in message:
            blames = (Field(workload, f"{_SPEC}.affinity.podAntiAffinity"), Field(workload, "spec.replicas"))
            rule_text = f"required anti-affinity: {leaves(required)}"
            evidence = (quote(pod, message), quote(workload, rule_text))
            yield Finding("pod-anti-affinity", workload, 0.95, evidence, blames)


def _size_rule(resource: Obstacle, rule: str) -> Rule:
    return Rule(
        id=rule,
        title=f"Asks for more {resource} than any node has left",
        holds=f"a pod waits, the scheduler says insufficient {resource}, and no open node has room for the request",
        mending="put back the last request that was placed; where the cluster is full a person adds nodes",
        proof="the pod is placed and becomes ready",
        repair="patch",
        find=lambda snapshot: _find(snapshot, resource, rule),
    )


RULES = (
    Rule(
        id="node-selector",
        title="No node has the labels of the node selector",
        holds="a pod waits, and no node satisfies its node selector",
        mending="put back the last node selector that was placed",
        proof="the pod is placed and becomes ready",
        repair="patch",
        find=lambda snapshot: _find(snapshot, "node-selector", "node-selector"),
    ),
    Rule(
        id="node-affinity",
        title="No node satisfies the required node affinity",
        holds="a pod waits, some node satisfies its node selector, and none its required affinity",
        mending="put back the last affinity that was placed",
        proof="the pod is placed and becomes ready",
        repair="patch",
        find=lambda snapshot: _find(snapshot, "node-affinity", "node-affinity"),
    ),
    Rule(
        id="node-cordoned",
        title="The nodes that would take the pod are cordoned",
        holds="a pod waits, and every node that satisfies its selector and affinity is unschedulable",
        mending="find who cordoned the nodes and why; uncordon them when that work is done",
        proof="the pod is placed and becomes ready",
        repair="escalate",
        find=lambda snapshot: _find(snapshot, "cordon", "node-cordoned"),
    ),
    Rule(
        id="node-taint",
        title="The nodes that would take the pod have a taint it does not tolerate",
        holds="a pod waits, and every open node that satisfies its selector and affinity has an untolerated taint",
        mending="find who tainted the nodes and why; remove the taint, or decide that the pod may tolerate it",
        proof="the pod is placed and becomes ready",
        repair="escalate",
        find=lambda snapshot: _find(snapshot, "taint", "node-taint"),
    ),
    _size_rule("cpu", "cpu-request-too-large"),
    _size_rule("memory", "memory-request-too-large"),
    Rule(
        id="pod-anti-affinity",
        title="Pods keep apart from each other on more nodes than there are",
        holds="a pod waits, the scheduler names its anti-affinity, and the rule is required",
        mending="put back the last anti-affinity and number of replicas that were placed",
        proof="all pods are placed and become ready",
        repair="patch",
        find=_find_apart,
    ),
)
