"""Pods that find no node: selector, affinity, cordon, taint, size."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.diagnosis.scheduling import CONDITION_TAINTS, Obstacle, blamed, judge, reasons, requested
from holdfast_sre.diagnosis.symptoms import container_path, pending_pods, unplaced
from holdfast_sre.evidence.snapshot import Ref, Snapshot, containers_of, dig, pod_spec_of

_SPEC = "spec.template.spec"
UNTOLD = 0.6
"""How sure a finding is that rests on the nodes alone, because no event tells of the pod."""


def _find(snapshot: Snapshot, obstacle: Obstacle, rule: str) -> Iterator[Finding]:
    for workload, pod, message in unplaced(snapshot):
        yield from _judged(snapshot, obstacle, rule, workload, pod, message, 0.95)
    told = {workload for workload, _, _ in unplaced(snapshot)}
    for workload in snapshot.workloads:
        waiting = pending_pods(snapshot, workload)
        if waiting and workload not in told and not snapshot.events_of(waiting[0][0]):
            yield from _judged(snapshot, obstacle, rule, workload, waiting[0][0], "", UNTOLD)


def _judged(
    snapshot: Snapshot, obstacle: Obstacle, rule: str, workload: Ref, pod: Ref, message: str, confidence: float
) -> Iterator[Finding]:
    verdicts = judge(snapshot, workload)
    if blamed(snapshot, workload, verdicts, message) != obstacle:
        return
    nodes = "; ".join(f"{verdict.node}: {', '.join(verdict.obstacles)}" for verdict in verdicts)
    evidence = (
        quote(pod, message or "waits for a node, and no event tells why"),
        quote(workload, _wanted(snapshot, workload, obstacle)),
        quote("nodes", nodes or "none recorded"),
    )
    is_symptom = obstacle == "taint" and _is_condition(message)
    yield Finding(rule, workload, 0.4 if is_symptom else confidence, evidence, _blames(snapshot, workload, obstacle))


def _is_condition(message: str) -> bool:
    """Whether all the taints that the scheduler names are the control plane's own."""
    taints = [reason.partition("{")[2] for reason in reasons(message) if "untolerated taint" in reason]
    return bool(taints) and all(taint.startswith(CONDITION_TAINTS) for taint in taints)


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
        holds="a pod waits, and the nodes that satisfy its selector and affinity are closed, most of them by a cordon",
        mending="find who cordoned the nodes and why; uncordon them when that work is done",
        proof="the pod is placed and becomes ready",
        repair="escalate",
        find=lambda snapshot: _find(snapshot, "cordon", "node-cordoned"),
    ),
    Rule(
        id="node-taint",
        title="The nodes that would take the pod have a taint it does not tolerate",
        holds="a pod waits, and the nodes that satisfy its selector and affinity are closed, most of them by a taint",
        mending="find who tainted the nodes and why; remove the taint, or decide that the pod may tolerate it",
        proof="the pod is placed and becomes ready",
        repair="escalate",
        find=lambda snapshot: _find(snapshot, "taint", "node-taint"),
    ),
    _size_rule("cpu", "cpu-request-too-large"),
    _size_rule("memory", "memory-request-too-large"),
)
