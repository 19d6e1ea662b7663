"""Why a pod finds no node, worked out node by node from what is asked for and what the nodes offer.

The scheduler's message counts nodes per reason; it does not say which constraint is at fault when several exclude
nodes. The order here is that of a person: a node that is closed is not at fault for the pod's selector, and a
selector that some node satisfies is not at fault when that node is closed, tainted or full. Where the nodes were not
recorded the counts of the message decide.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from holdfast_sre.evidence.quantities import quantity
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, dig, pod_spec_of

Obstacle = Literal["node-selector", "node-affinity", "cordon", "taint", "cpu", "memory"]

SIGNS: Mapping[Obstacle, str] = {
    "node-selector": "node affinity/selector",
    "node-affinity": "node affinity/selector",
    "cordon": "unschedulable",
    "taint": "untolerated taint",
    "cpu": "Insufficient cpu",
    "memory": "Insufficient memory",
}
"""How the scheduler's message names each."""
CONDITION_TAINTS = "node.kubernetes.io/"
"""Taints of this prefix are the control plane's answer to a node in trouble: a symptom, not somebody's wish."""

_SIZES: tuple[Obstacle, ...] = ("cpu", "memory")
_UNSCHEDULABLE_TAINT = "node.kubernetes.io/unschedulable"
_REASON = re.compile(r"([0-9]+) (?:node\(s\) )?([^,]+?)(?=, [0-9]+ |\.$|$)")
_OWN_TAINTS = (CONDITION_TAINTS, "node-role.kubernetes.io/")
"""Taints that the cluster itself sets."""
_CONTROL_PLANE = ("master", "control-plane", "controlplane", "etcd")


class Verdict(msgspec.Struct, frozen=True):
    """What keeps a pod from one node, in the order of the checks; empty where it fits.

    `excess` is, by resource, how many times the whole node the pod asks for; only what is more than once.
    """

    node: str
    obstacles: tuple[Obstacle, ...]
    excess: Mapping[Obstacle, float] = {}


def judge(snapshot: Snapshot, workload: Ref) -> list[Verdict]:
    """For each node what keeps the workload's pods from it.

    A control plane that is closed to pods is meant to be; it is no candidate as long as there are other nodes.
    """
    spec = pod_spec_of(snapshot.manifest(workload))
    nodes = snapshot.of_kind("Node")
    candidates = [(ref, node) for ref, node in nodes if not _is_closed_control_plane(node)] or nodes
    return [Verdict(ref.name, tuple(_obstacles(spec, node)), _excess(spec, node)) for ref, node in candidates]


def blamed(snapshot: Snapshot, workload: Ref, verdicts: Iterable[Verdict], message: str) -> Obstacle | None:
    """The constraint that keeps the pods from all nodes: as the nodes tell it where the message does not contradict,
    else as the message's counts do. None where neither tells.
    """
    judged = list(verdicts)
    found = culprit(judged)
    if not message or (found is not None and SIGNS[found] in message):
        return found
    is_settled = bool(judged) and found is None  # What is asked for now fits: the message is of what was asked before.
    return None if is_settled else from_counts(message, pod_spec_of(snapshot.manifest(workload)))


def culprit(verdicts: Iterable[Verdict]) -> Obstacle | None:
    """The constraint that excludes the last nodes, or None where some node would fit.

    Nodes are sifted by selector, affinity, closure and size; the sieve that lets none through is the culprit. Where
    some of the closed nodes are cordoned and others tainted, it is what closes most of them. Of the sizes one that no
    node could ever give comes before one for which there is merely no room.
    """
    left = list(verdicts)
    wishes: tuple[Obstacle, ...] = ("node-selector", "node-affinity")
    for obstacle in wishes:
        passed = [verdict for verdict in left if obstacle not in verdict.obstacles]
        if left and not passed:
            return obstacle
        left = passed
    open_ = [verdict for verdict in left if not {"cordon", "taint"} & set(verdict.obstacles)]
    if left and not open_:
        tainted = sum("taint" in verdict.obstacles and "cordon" not in verdict.obstacles for verdict in left)
        return "taint" if 2 * tainted >= len(left) else "cordon"
    left = open_
    hopeless = {size: min(verdict.excess.get(size, 0.0) for verdict in left) for size in _SIZES} if left else {}
    worst = max(_SIZES, key=lambda size: hopeless.get(size, 0.0))
    if hopeless.get(worst, 0.0) > 1.0:
        return worst
    for size in _SIZES:
        passed = [verdict for verdict in left if size not in verdict.obstacles]
        if left and not passed:
            return size
        left = passed
    return None


def reasons(message: str) -> dict[str, int]:
    """How many nodes the scheduler's message counts for each reason; what it says of preemption is left out."""
    _, found, told = message.partition("nodes are available: ")
    told = re.split(r"\.? preemption:", told if found else "", maxsplit=1)[0]
    counts: dict[str, int] = {}
    for count, reason in _REASON.findall(told):
        counts[reason] = counts.get(reason, 0) + int(count)
    return counts


def from_counts(message: str, spec: Manifest) -> Obstacle | None:
    """The constraint at fault by the message alone, None where it is none of ours.

    The scheduler counts a node under the first filter that it fails: cordon, taint, selector, then room, then volumes
    and other pods. So a node short of room passed what comes before, and a tainted node may be the one selected. One
    closed node beside others is taken for a control plane.
    """
    counts = reasons(message)

    def count(sign: str) -> int:
        return sum(number for reason, number in counts.items() if sign in reason)

    sizes = {size: count(SIGNS[size]) for size in _SIZES}
    early = ("unschedulable", "untolerated taint", "node affinity/selector")
    if any(not any(sign in reason for sign in early) for reason in counts):
        best = max(_SIZES, key=lambda size: sizes[size])
        return best if sizes[best] else None
    wished = sum(
        number
        for reason, number in counts.items()
        if "untolerated taint" in reason and not reason.partition("{")[2].startswith(_OWN_TAINTS)
    )
    closed, unmatched = count("unschedulable"), count("node affinity/selector")
    if wished or (count("untolerated taint") and not unmatched and closed < 2):
        return "taint"
    if closed > 1 or not unmatched:
        return "cordon" if closed else None
    return "node-selector" if spec.get("nodeSelector") else "node-affinity"


def _labels(node: Manifest) -> dict[str, str]:
    """A node's labels; the host name, which the kubelet always sets, is the node's own where it was not written."""
    return {"kubernetes.io/hostname": str(dig(node, "metadata.name")), **(dig(node, "metadata.labels") or {})}


def is_control_plane(node: Manifest) -> bool:
    """Whether a node's labels say that it runs the cluster itself."""
    labels = _labels(node)
    return labels.get("kubernetes.io/role") in _CONTROL_PLANE or any(
        f"node-role.kubernetes.io/{role}" in labels for role in _CONTROL_PLANE
    )


def _is_closed_control_plane(node: Manifest) -> bool:
    taints = dig(node, "spec.taints") or ()
    is_reserved = any(str(taint.get("key", "")).startswith("node-role.kubernetes.io/") for taint in taints)
    return is_control_plane(node) and (bool(dig(node, "spec.unschedulable")) or is_reserved)


def _obstacles(spec: Manifest, node: Manifest) -> list[Obstacle]:
    labels = _labels(node)
    found: list[Obstacle] = []
    selector = spec.get("nodeSelector") or {}
    if any(str(labels.get(key)) != str(value) for key, value in selector.items()):
        found.append("node-selector")
    if not _is_affine(spec, labels, str(dig(node, "metadata.name"))):
        found.append("node-affinity")
    if dig(node, "spec.unschedulable"):
        found.append("cordon")
    if any(not _is_tolerated(taint, spec) for taint in dig(node, "spec.taints") or ()):
        found.append("taint")
    found.extend(resource for resource in _SIZES if not _has_room(spec, node, resource))
    return found


def _excess(spec: Manifest, node: Manifest) -> dict[Obstacle, float]:
    found: dict[Obstacle, float] = {}
    for resource in _SIZES:
        allocatable = quantity(dig(node, f"status.allocatable.{resource}"))
        if allocatable and requested(spec, resource) > allocatable:
            found[resource] = requested(spec, resource) / allocatable
    return found


def _is_affine(spec: Manifest, labels: Mapping[str, str], name: str) -> bool:
    required = dig(spec, "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms")
    if not isinstance(required, list):
        return True
    terms = [term for term in required if isinstance(term, Mapping)]
    return not terms or any(
        all(is_selected(expression, labels) for expression in term.get("matchExpressions") or ())
        and all(is_selected(expression, {"metadata.name": name}) for expression in term.get("matchFields") or ())
        for term in terms
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
