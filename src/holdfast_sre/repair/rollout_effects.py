"""What a rollout does to a snapshot: new pods, endpoints, reachable services, symptoms that are over. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from holdfast_sre.diagnosis.symptoms import desired, ready
from holdfast_sre.evidence.snapshot import Manifest, Probe, Ref, Snapshot, containers_of, dig, pod_spec_of
from holdfast_sre.repair.propose import as_if_applied
from holdfast_sre.repair.rollout import Outlook

OWNED_KINDS = ("ReplicaSet", "Pod")


def rolled_out(before: Snapshot, declared: Mapping[Ref, Manifest], plan: Outlook) -> Snapshot:
    """The snapshot after the manifests were applied, with the effects that the outlook allows."""
    after = _applied(before, declared, plan)
    for workload in plan.rolled:
        after = with_ready_pods(after, workload)
    for workload in plan.relieved:
        live = after.live.get(workload)
        is_short = live is not None and ready(live) < desired(live)
        if workload in after.workloads and is_short:
            after = with_ready_pods(after, workload)
    well = frozenset({*plan.changed, *plan.rolled, *plan.relieved} - {*plan.held, *plan.unproven})
    return _quieted(reconnected(after, well), well)


def _applied(before: Snapshot, declared: Mapping[Ref, Manifest], plan: Outlook) -> Snapshot:
    after = as_if_applied(before, declared)
    live = dict(after.live)
    for ref in plan.changed:
        if ref in declared:
            status = live.get(ref, {}).get("status")
            live[ref] = {**declared[ref], **({"status": status} if status else {})}
    return replace(after, live=live)


def with_ready_pods(snapshot: Snapshot, workload: Ref) -> Snapshot:
    """The snapshot with a complete set of new, ready pods of a workload in place of all that it owned."""
    live = dict(snapshot.live)
    old = snapshot.pods_of(workload)
    gone = [ref for ref in live if ref.kind in OWNED_KINDS and snapshot.owner_of(ref) == workload and ref != workload]
    for ref in gone:
        del live[ref]
    manifest = {**snapshot.live.get(workload, {}), **snapshot.declared.get(workload, {})}
    count = desired(manifest)
    revision = _template_hash(manifest)
    owner = workload
    if workload.kind == "Deployment":
        owner = Ref("ReplicaSet", f"{workload.name}-{revision}")
        live[owner] = _replica_set(owner, workload, manifest, count)
    places = [(dig(pod, "spec.nodeName"), dig(pod, "status.podIP")) for _, pod in old]
    for index in range(count):
        node, address = places[index] if index < len(places) else (None, None)
        pod = Ref("Pod", f"{workload.name}-{revision}-{index}")
        live[pod] = _pod(pod, owner, manifest, node or _any_node(snapshot), address or _address(workload, index))
    status = {"replicas": count, "readyReplicas": count, "availableReplicas": count, "updatedReplicas": count}
    live[workload] = {**manifest, "status": {**status, "conditions": [{"type": "Available", "status": "True"}]}}
    events = tuple(event for event in snapshot.events if event.about not in gone)
    return replace(snapshot, live=live, events=events)


def _template_hash(workload: Manifest) -> str:
    template = msgspec.json.encode(dig(workload, "spec.template") or {}, order="deterministic")
    return hashlib.sha256(template).hexdigest()[:10]


def _replica_set(ref: Ref, owner: Ref, workload: Manifest, count: int) -> Manifest:
    return {
        "kind": ref.kind,
        "metadata": {"name": ref.name, "ownerReferences": [{"kind": owner.kind, "name": owner.name}]},
        "spec": {"replicas": count, "template": dig(workload, "spec.template") or {}},
        "status": {"replicas": count, "readyReplicas": count},
    }


def _pod(ref: Ref, owner: Ref, workload: Manifest, node: str, address: str) -> Manifest:
    statuses = [
        {"name": container["name"], "ready": True, "restartCount": 0, "state": {"running": {}}, "lastState": {}}
        for container in containers_of(workload)
    ]
    labels = dig(workload, "spec.template.metadata.labels") or {}
    conditions = [{"type": kind, "status": "True"} for kind in ("PodScheduled", "ContainersReady", "Ready")]
    return {
        "kind": "Pod",
        "metadata": {
            "name": ref.name,
            "labels": dict(labels),
            "ownerReferences": [{"kind": owner.kind, "name": owner.name}],
        },
        "spec": {**pod_spec_of(workload), "nodeName": node},
        "status": {"phase": "Running", "podIP": address, "conditions": conditions, "containerStatuses": statuses},
    }


def _any_node(snapshot: Snapshot) -> str:
    nodes = [ref.name for ref, node in snapshot.of_kind("Node") if not dig(node, "spec.unschedulable")]
    return nodes[0] if nodes else "node"


def _address(workload: Ref, index: int) -> str:
    """An address of the block for documentation (RFC 5737), fixed for a pod."""
    first = hashlib.sha256(workload.name.encode()).digest()[0]
    return f"192.0.2.{(first + index) % 254 + 1}"


def reconnected(snapshot: Snapshot, well: frozenset[Ref]) -> Snapshot:
    """New endpoints for services that are well, or select what is; connections reach those that have some.

    Other services keep what was recorded: a snapshot need not hold all that stands behind them.
    """
    live = dict(snapshot.live)
    served: dict[str, set[int]] = {}
    for ref, service in snapshot.of_kind("Service"):
        selector = dig(service, "spec.selector")
        if not isinstance(selector, Mapping) or not selector:
            continue
        behind = [workload for workload in snapshot.workloads if _selects(selector, snapshot.manifest(workload))]
        if well.isdisjoint({ref, *behind}):
            continue
        ports = [port for port in dig(service, "spec.ports") or () if isinstance(port, Mapping)]
        subsets = [subset for pod in _ready_pods(snapshot, behind) if (subset := _subset(pod, ports)) is not None]
        live[Ref("Endpoints", ref.name)] = {"kind": "Endpoints", "metadata": {"name": ref.name}, "subsets": subsets}
        if subsets:
            served[ref.name] = {int(port.get("port") or 0) for port in ports}
    probes = tuple(
        _tried_again(probe) if probe.port in served.get(probe.service, ()) else probe for probe in snapshot.probes
    )
    return replace(snapshot, live=live, probes=probes)


def _selects(selector: Mapping[str, Any], workload: Manifest) -> bool:
    labels = dig(workload, "spec.template.metadata.labels") or {}
    return all(labels.get(key) == value for key, value in selector.items())


def _ready_pods(snapshot: Snapshot, workloads: Iterable[Ref]) -> list[Manifest]:
    return [pod for workload in workloads for _, pod in snapshot.pods_of(workload) if _is_ready(pod)]


def _is_ready(pod: Manifest) -> bool:
    statuses = dig(pod, "status.containerStatuses") or ()
    return bool(statuses) and all(status.get("ready") for status in statuses)


def _subset(pod: Manifest, ports: Iterable[Mapping[str, Any]]) -> Manifest | None:
    opened = [port for container in containers_of(pod) for port in container.get("ports") or ()]
    by_name = {port.get("name"): port.get("containerPort") for port in opened if port.get("name")}
    targets = [port.get("targetPort", port.get("port")) for port in ports]
    numbers = [by_name.get(target, target) for target in targets]
    address = dig(pod, "status.podIP")
    if not address or not any(isinstance(number, int) for number in numbers):
        return None
    found = [{"port": number} for number in numbers if isinstance(number, int)]
    return {"addresses": [{"ip": address}], "ports": found}


def _tried_again(probe: Probe) -> Probe:
    return probe if probe.reached else Probe(probe.service, probe.port, True, f"{probe.service}:{probe.port} open")


def _quieted(snapshot: Snapshot, well: frozenset[Ref]) -> Snapshot:
    """Without the events, logs, signals and failed requests of objects that are well now."""
    names = {ref.name for ref in well}
    return replace(
        snapshot,
        events=tuple(event for event in snapshot.events if snapshot.owner_of(event.about) not in well),
        logs=tuple(line for line in snapshot.logs if line.workload not in names),
        signals=tuple(signal for signal in snapshot.signals if snapshot.owner_of(signal.subject).name not in names),
        failures=tuple(failure for failure in snapshot.failures if failure.service not in names),
    )
