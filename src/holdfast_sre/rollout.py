"""What a recorded cluster becomes when other manifests are applied to it: pure, and never better than the rules allow.

A snapshot cannot run anything, so recovery is derived. The rules judge the new manifests against the symptoms that were
recorded: where a finding falls silent its object rolls out (new pods, endpoints, reachable services) and what it had
made suffer recovers with it; where one still holds, or an image was never seen, the recorded symptoms stay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from holdfast_sre.findings import Finding
from holdfast_sre.manifest_paths import leaves
from holdfast_sre.snapshot import Manifest, Probe, Ref, Snapshot, containers_of, dig, pod_spec_of

OWNED_KINDS = ("ReplicaSet", "Pod")


@dataclass(frozen=True)
class Outlook:
    """What becomes of each object: `rolled` gets new pods, `relieved` only loses its symptoms, `held` keeps them.

    `unproven` are objects with new images that nobody has seen run. `mended` are those whose findings fell silent.
    """

    changed: tuple[Ref, ...]
    mended: tuple[Ref, ...]
    rolled: tuple[Ref, ...]
    relieved: tuple[Ref, ...]
    held: tuple[Ref, ...]
    unproven: tuple[Ref, ...]


def changed_objects(before: Mapping[Ref, Manifest], after: Mapping[Ref, Manifest]) -> tuple[Ref, ...]:
    """The objects that differ in a leaf, or are in one of the two only, sorted."""
    return tuple(ref for ref in sorted({*before, *after}) if leaves(before.get(ref, {})) != leaves(after.get(ref, {})))


def outlook(
    before: Snapshot,
    declared: Mapping[Ref, Manifest],
    *,
    found_before: Iterable[Finding],
    found_after: Iterable[Finding],
    images_seen: Collection[str],
) -> Outlook:
    """Decide who recovers. `found_after` is what the rules say of `before` with the new manifests."""
    changed = changed_objects(before.declared, declared)
    was, still = _by_identity(found_before), _by_identity(found_after)
    mended = {finding.object for key, finding in was.items() if key not in still}
    fresh = {finding.object for key, finding in still.items() if key not in was}
    asked = before.with_declared(declared)
    touched = {*changed, *mended}
    unproven = {ref for ref in touched if _images(asked, ref) - _images(before, ref) - set(images_seen)}
    opened = {finding.object for finding in still.values()}
    stuck = opened | unproven
    rolled = {ref for ref in asked.workloads if ref not in stuck and _rests_on(asked, ref, touched, stuck)}
    # A finding about somebody who calls what was mended told of that fault: it goes with it, unless it is new.
    victims = _dependants(asked, rolled | (mended - stuck)) - touched - fresh - unproven
    relieved = ((mended - stuck) | victims) - rolled
    held = opened - relieved
    groups = {"mended": mended, "rolled": rolled, "relieved": relieved, "held": held, "unproven": unproven}
    return Outlook(changed, **{name: tuple(sorted(refs)) for name, refs in groups.items()})


def _by_identity(findings: Iterable[Finding]) -> dict[tuple[str, Ref], Finding]:
    return {(finding.rule, finding.object): finding for finding in findings}


def _images(snapshot: Snapshot, ref: Ref) -> set[str]:
    return {str(container.get("image", "")) for container in containers_of(snapshot.declared.get(ref, {}))}


def _rests_on(snapshot: Snapshot, workload: Ref, touched: Collection[Ref], stuck: Collection[Ref]) -> bool:
    """Whether a workload was touched, itself or through what its pods name, and nothing that it needs is stuck."""
    needs = _named_by(snapshot.manifest(workload)) | {workload}
    return not needs.isdisjoint(touched) and needs.isdisjoint(stuck)


_NAMED = {"serviceAccountName": "ServiceAccount", "claimName": "PersistentVolumeClaim", "secretName": "Secret"}


def _named_by(workload: Manifest) -> set[Ref]:
    """The objects that a pod template needs to start: account, claims, secrets, config maps."""
    found = set()
    for path, text in leaves(pod_spec_of(workload)).items():
        last = path.rpartition(".")[2]
        if last in _NAMED:
            found.add(Ref(_NAMED[last], text))
        for table, kind in (("secret", "Secret"), ("configMap", "ConfigMap")):
            if path.endswith((f"{table}Ref.name", f"{table}KeyRef.name", f"{table}.name")):
                found.add(Ref(kind, text))
    return found


def _dependants(snapshot: Snapshot, mended: Collection[Ref]) -> set[Ref]:
    """The workloads that call a mended one, near or far."""
    names = {ref.name for ref in mended}
    frontier = set(names)
    while frontier:
        frontier = {caller for name in frontier for caller in snapshot.callers_of(name)} - names
        names |= frontier
    return {ref for ref in snapshot.workloads if ref.name in names}


def rolled_out(before: Snapshot, declared: Mapping[Ref, Manifest], plan: Outlook) -> Snapshot:
    """The snapshot after the manifests were applied, with the effects that the outlook allows."""
    after = _applied(before, declared, plan)
    for workload in plan.rolled:
        after = _replaced_pods(after, workload)
    for workload in plan.relieved:
        live = after.live.get(workload)
        is_short = live is not None and int(dig(live, "status.readyReplicas") or 0) < _desired(live)
        if workload in after.workloads and is_short:
            after = _replaced_pods(after, workload)
    well = frozenset({*plan.changed, *plan.rolled, *plan.relieved} - {*plan.held, *plan.unproven})
    return _quieted(_reconnected(after, well), well)


def _applied(before: Snapshot, declared: Mapping[Ref, Manifest], plan: Outlook) -> Snapshot:
    live = dict(before.live)
    for ref in plan.changed:
        if ref in declared:
            status = live.get(ref, {}).get("status")
            live[ref] = {**declared[ref], **({"status": status} if status else {})}
        else:
            live.pop(ref, None)
    return replace(before, declared=declared, live=live)


def _desired(workload: Manifest) -> int:
    replicas = dig(workload, "spec.replicas")
    return replicas if isinstance(replicas, int) else 1


def _replaced_pods(snapshot: Snapshot, workload: Ref) -> Snapshot:
    """The workload with a complete set of new, ready pods in place of all that it owned."""
    live = dict(snapshot.live)
    old = snapshot.pods_of(workload)
    gone = [ref for ref in live if ref.kind in OWNED_KINDS and snapshot.owner_of(ref) == workload and ref != workload]
    for ref in gone:
        del live[ref]
    manifest = {**snapshot.live.get(workload, {}), **snapshot.declared.get(workload, {})}
    count = _desired(manifest)
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
    ready = [{"type": kind, "status": "True"} for kind in ("PodScheduled", "ContainersReady", "Ready")]
    return {
        "kind": "Pod",
        "metadata": {
            "name": ref.name,
            "labels": dict(labels),
            "ownerReferences": [{"kind": owner.kind, "name": owner.name}],
        },
        "spec": {**pod_spec_of(workload), "nodeName": node},
        "status": {"phase": "Running", "podIP": address, "conditions": ready, "containerStatuses": statuses},
    }


def _any_node(snapshot: Snapshot) -> str:
    nodes = [ref.name for ref, node in snapshot.of_kind("Node") if not dig(node, "spec.unschedulable")]
    return nodes[0] if nodes else "node"


def _address(workload: Ref, index: int) -> str:
    """An address of the block for documentation (RFC 5737), fixed for a pod."""
    first = hashlib.sha256(workload.name.encode()).digest()[0]
    return f"192.0.2.{(first + index) % 254 + 1}"


def _reconnected(snapshot: Snapshot, well: frozenset[Ref]) -> Snapshot:
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
