"""Why a pod finds no node, worked out node by node from what is asked for and what the nodes offer.

The scheduler's message counts nodes per reason; it does not say which constraint is at fault when several exclude
nodes. The order here is that of a person: a node that is closed is not at fault for the pod's selector, and a
selector that some node satisfies is not at fault when that node is closed, tainted or full.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from holdfast_sre.evidence.quantities import quantity
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, dig, pod_spec_of

Obstacle = Literal["node-selector", "node-affinity", "cordon", "taint", "cpu", "memory"]

_UNSCHEDULABLE_TAINT = "node.kubernetes.io/unschedulable"


class Verdict(msgspec.Struct, frozen=True):
    """What keeps a pod from one node, in the order of the checks; empty where it fits."""

    node: str
    obstacles: tuple[Obstacle, ...]


def judge(snapshot: Snapshot, workload: Ref) -> list[Verdict]:
    """For each node what keeps the workload's pods from it.

    A control plane that is closed to pods is meant to be; it is no candidate as long as there are other nodes.
    """
    spec = pod_spec_of(snapshot.manifest(workload))
    nodes = snapshot.of_kind("Node")
    candidates = [(ref, node) for ref, node in nodes if not _is_closed_control_plane(node)] or nodes
    return [Verdict(ref.name, tuple(_obstacles(spec, node))) for ref, node in candidates]


def _labels(node: Manifest) -> dict[str, str]:
    """A node's labels; the host name, which the kubelet always sets, is the node's own where it was not written."""
    return {"kubernetes.io/hostname": str(dig(node, "metadata.name")), **(dig(node, "metadata.labels") or {})}


def _is_closed_control_plane(node: Manifest) -> bool:
    labels = _labels(node)
    is_control_plane = labels.get("kubernetes.io/role") in ("master", "control-plane") or any(
        f"node-role.kubernetes.io/{role}" in labels for role in ("master", "control-plane")
    )
    return is_control_plane and bool(dig(node, "spec.unschedulable"))


def culprit(verdicts: Iterable[Verdict]) -> Obstacle | None:
    """The constraint that excludes the last nodes, or None where some node would fit.

    Nodes are sifted by selector, affinity, cordon, taint, size; the sieve that lets none through is the culprit.
    """
    left = list(verdicts)
    order: tuple[Obstacle, ...] = ("node-selector", "node-affinity", "cordon", "taint", "cpu", "memory")
    for obstacle in order:
        passed = [verdict for verdict in left if obstacle not in verdict.obstacles]
        if left and not passed:
            return obstacle
        left = passed
    return None


def _obstacles(spec: Manifest, node: Manifest) -> list[Obstacle]:
    labels = _labels(node)
    found: list[Obstacle] = []
    selector = spec.get("nodeSelector") or {}
    if any(str(labels.get(key)) != str(value) for key, value in selector.items()):
        found.append("node-selector")
    if not _is_affine(spec, labels):
        found.append("node-affinity")
    if dig(node, "spec.unschedulable"):
        found.append("cordon")
    if any(not _is_tolerated(taint, spec) for taint in dig(node, "spec.taints") or ()):
        found.append("taint")
    sizes: tuple[Obstacle, ...] = ("cpu", "memory")
    found.extend(resource for resource in sizes if not _has_room(spec, node, resource))
    return found


def _is_affine(spec: Manifest, labels: Mapping[str, str]) -> bool:
    required = dig(spec, "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms")
    if not required:
        return True
    return any(
        all(is_selected(expression, labels) for expression in term.get("matchExpressions") or ()) for term in required
    )


def is_selected(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether labels satisfy one match expression."""
    value = labels.get(str(expression.get("key")))
    values = [str(item) for item in expression.get("values") or ()]
    match expression.get("operator"):
        case "In":
            return value is not None and value in values
        case "NotIn":
            return value is None or value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as operator:
            bound, seen = quantity(values[0] if values else None), quantity(value)
            return bound is not None and seen is not None and (seen > bound if operator == "Gt" else seen < bound)
        case _:
            return False


def _is_tolerated(taint: Mapping[str, Any], spec: Manifest) -> bool:
    if taint.get("effect") not in ("NoSchedule", "NoExecute") or taint.get("key") == _UNSCHEDULABLE_TAINT:
        return True  # The cordon's own taint is judged as a cordon.
    for toleration in spec.get("tolerations") or ():
        is_key = not toleration.get("key") or toleration.get("key") == taint.get("key")
        is_effect = not toleration.get("effect") or toleration.get("effect") == taint.get("effect")
        is_value = toleration.get("operator") == "Exists" or str(toleration.get("value", "")) == str(taint.get("value"))
        if is_key and is_effect and is_value:
            return True
    return False


def requested(spec: Manifest, resource: str) -> float:
    """What all containers of a pod ask for together (limits count where no request is written)."""
    total = 0.0
    for container in spec.get("containers") or ():
        amount = dig(container, f"resources.requests.{resource}") or dig(container, f"resources.limits.{resource}")
        total += quantity(amount) or 0.0
    return total


def _has_room(spec: Manifest, node: Manifest, resource: str) -> bool:
    allocatable = quantity(dig(node, f"status.allocatable.{resource}"))
    if allocatable is None:
        return True
    used = quantity(dig(node, f"status.requested.{resource}")) or 0.0
    return used + requested(spec, resource) <= allocatable
