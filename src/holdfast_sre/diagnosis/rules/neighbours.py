"""Pods that find no node because of other pods: apart from, together with, spread over, the same host port."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.diagnosis.scheduling import is_selected
from holdfast_sre.diagnosis.symptoms import container_path, pending_pods, unplaced
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, containers_of, dig, pod_spec_of

_SPEC = "spec.template.spec"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def _apart(snapshot: Snapshot, workload: Ref) -> tuple[str, tuple[Field, ...]]:
    required = dig(pod_spec_of(snapshot.manifest(workload)), f"affinity.podAntiAffinity.{_REQUIRED}")
    fields = (Field(workload, f"{_SPEC}.affinity.podAntiAffinity"), Field(workload, "spec.replicas"))
    return (f"required anti-affinity: {leaves(required)}", fields) if required else ("", ())


def _together(snapshot: Snapshot, workload: Ref) -> tuple[str, tuple[Field, ...]]:
    required = dig(pod_spec_of(snapshot.manifest(workload)), f"affinity.podAffinity.{_REQUIRED}")
    fields = (Field(workload, f"{_SPEC}.affinity.podAffinity"),)
    return (f"required affinity to pods: {leaves(required)}", fields) if required else ("", ())


def _spread(snapshot: Snapshot, workload: Ref) -> tuple[str, tuple[Field, ...]]:
    spread = pod_spec_of(snapshot.manifest(workload)).get("topologySpreadConstraints")
    fields = (Field(workload, f"{_SPEC}.topologySpreadConstraints"),)
    return (f"topology spread: {leaves(spread)}", fields) if spread else ("", ())


def _host_ports(snapshot: Snapshot, workload: Ref) -> tuple[str, tuple[Field, ...]]:
    containers = containers_of(snapshot.manifest(workload))
    ports = [port.get("hostPort") for item in containers for port in item.get("ports") or () if port.get("hostPort")]
    fields = tuple(Field(workload, f"{container_path(str(item['name']))}.ports") for item in containers)
    return (f"host ports: {ports}", fields) if ports else ("", ())


Wanted = Callable[[Snapshot, Ref], tuple[str, tuple[Field, ...]]]


def _find(snapshot: Snapshot, rule: str, sign: str, wanted: Wanted) -> Iterator[Finding]:
    for workload, pod, message in unplaced(snapshot):
        text, blames = wanted(snapshot, workload)
        if text and sign in message:
            yield Finding(rule, workload, 0.95, (quote(pod, message), quote(workload, text)), blames)


def _find_apart(snapshot: Snapshot) -> Iterator[Finding]:
    yield from _find(snapshot, "pod-anti-affinity", "anti-affinity", _apart)
    told = {workload for workload, _, _ in unplaced(snapshot)}
    for workload in snapshot.workloads:
        waiting = [] if workload in told else pending_pods(snapshot, workload)
        text, blames = _apart(snapshot, workload)
        if waiting and text and not snapshot.events_of(waiting[0][0]) and _is_crowded(snapshot, workload):
            pod = waiting[0][0]
            evidence = (quote(pod, "waits for a node, and no event tells why"), quote(workload, text))
            yield Finding("pod-anti-affinity", workload, 0.7, evidence, blames)


def _is_crowded(snapshot: Snapshot, workload: Ref) -> bool:
    """Whether every open node has a pod that the workload's pods keep apart from."""
    terms = dig(pod_spec_of(snapshot.manifest(workload)), f"affinity.podAntiAffinity.{_REQUIRED}") or ()
    pods = [pod for _, pod in snapshot.of_kind("Pod") if dig(pod, "spec.nodeName")]
    taken = {str(dig(pod, "spec.nodeName")) for pod in pods if any(_is_avoided(term, pod) for term in terms)}
    open_nodes = {ref.name for ref, node in snapshot.of_kind("Node") if not dig(node, "spec.unschedulable")}
    return bool(open_nodes) and open_nodes <= taken


def _is_avoided(term: Mapping[str, Any], pod: Manifest) -> bool:
    labels = {str(key): str(value) for key, value in (dig(pod, "metadata.labels") or {}).items()}
    wanted = dig(term, "labelSelector.matchLabels") or {}
    expressions = dig(term, "labelSelector.matchExpressions") or ()
    return bool(wanted or expressions) and (
        all(labels.get(str(key)) == str(value) for key, value in wanted.items())
        and all(is_selected(expression, labels) for expression in expressions)
    )


def _rule(id: str, title: str, holds: str, mending: str, find: Callable[[Snapshot], Iterator[Finding]]) -> Rule:
    proof = "all pods are placed and become ready"
    return Rule(id=id, title=title, holds=holds, mending=mending, proof=proof, repair="patch", find=find)


RULES = (
    _rule(
        "pod-anti-affinity",
        "Pods keep apart from each other on more nodes than there are",
        "a pod waits, its anti-affinity is required, and the scheduler or the pods on every open node tell of it",
        "put back the last anti-affinity and number of replicas that were placed",
        _find_apart,
    ),
    _rule(
        "pod-affinity",
        "The pods that this one must be near are on no node that takes it",
        "a pod waits, the scheduler names its affinity to other pods, and that affinity is required",
        "put back the last affinity that was placed, or bring back the pods it names",
        lambda snapshot: _find(snapshot, "pod-affinity", "pod affinity rules", _together),
    ),
    _rule(
        "pod-topology-spread",
        "The pods may not be spread as unevenly as the nodes make necessary",
        "a pod waits, and the scheduler names its topology spread constraints",
        "put back the last constraints and number of replicas that were placed",
        lambda snapshot: _find(snapshot, "pod-topology-spread", "topology spread constraints", _spread),
    ),
    _rule(
        "host-port-taken",
        "The host port is taken on every node",
        "a pod waits, it asks for a port of the host, and the scheduler says that no node has it free",
        "put back the ports; a service needs no host port",
        lambda snapshot: _find(snapshot, "host-port-taken", "free ports", _host_ports),
    ),
)
