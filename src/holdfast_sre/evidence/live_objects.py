"""Objects as a cluster answers with them, made fit for the rules: shapes checked, what nobody may see taken out.

What rules read of living objects is checked at the door, so that no rule meets a text where a number is due. Values of
secrets are not kept: nobody needs them to find a cause, and nothing that is not kept can leak.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from holdfast_sre.evidence.manifest_shapes import shape_fault
from holdfast_sre.evidence.quantities import quantity
from holdfast_sre.evidence.snapshot import WORKLOAD_KINDS, Manifest, Ref, dig

Table = dict[str, Any]

WITHHELD = "(not read)"
"""What stands for a secret's value."""

_GROUPS = {
    **dict.fromkeys((*WORKLOAD_KINDS, "ReplicaSet", "ControllerRevision"), ("apps", "extensions")),
    **dict.fromkeys(("Job", "CronJob"), ("batch",)),
    "HorizontalPodAutoscaler": ("autoscaling",),
    "PodDisruptionBudget": ("policy",),
    "NetworkPolicy": ("networking.k8s.io", "extensions"),
    "Ingress": ("networking.k8s.io", "extensions"),
    "IngressClass": ("networking.k8s.io",),
    "StorageClass": ("storage.k8s.io",),
    "EndpointSlice": ("discovery.k8s.io",),
    "Event": ("", "events.k8s.io"),
    **dict.fromkeys(
        (
            *("Pod", "Service", "Endpoints", "Node", "Namespace", "ConfigMap", "Secret", "ServiceAccount"),
            *("PersistentVolume", "PersistentVolumeClaim", "ResourceQuota", "LimitRange", "ReplicationController"),
        ),
        ("",),
    ),
}
"""The API groups of the kinds that rules know. The same word in another group is another kind."""

KNOWN_KINDS = frozenset(_GROUPS)
CLUSTER_KINDS = frozenset(
    {"Node", "Namespace", "PersistentVolume", "StorageClass", "IngressClass", "ClusterRole", "ClusterRoleBinding"}
    | {"CustomResourceDefinition", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "PriorityClass"}
)
"""Kinds that belong to no namespace."""


class _Owner(msgspec.Struct):
    kind: str
    name: str


class _Metadata(msgspec.Struct):
    name: str
    namespace: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    ownerReferences: list[_Owner] | None = None  # noqa: N815 - the API's own names
    creationTimestamp: str | None = None  # noqa: N815


class _Condition(msgspec.Struct):
    type: str
    status: str
    reason: str | None = None
    message: str | None = None


class _ContainerStatus(msgspec.Struct):
    name: str
    ready: bool = False
    restartCount: int = 0  # noqa: N815
    state: dict[str, Table | None] | None = None
    lastState: dict[str, Table | None] | None = None  # noqa: N815


class _Status(msgspec.Struct):
    phase: str | None = None
    podIP: str | None = None  # noqa: N815
    conditions: list[_Condition] | None = None
    containerStatuses: list[_ContainerStatus] | None = None  # noqa: N815
    initContainerStatuses: list[_ContainerStatus] | None = None  # noqa: N815
    readyReplicas: int | None = None  # noqa: N815
    numberReady: int | None = None  # noqa: N815
    desiredNumberScheduled: int | None = None  # noqa: N815
    allocatable: Table | None = None
    capacity: Table | None = None
    used: Table | None = None
    hard: Table | None = None


class _Any(msgspec.Struct):
    kind: str
    metadata: _Metadata
    apiVersion: str | None = None  # noqa: N815
    status: _Status | None = None
    spec: Table | None = None


class _Other(msgspec.Struct):
    kind: str
    metadata: _Metadata


class _Container(msgspec.Struct):
    name: str
    ports: list[Table] | None = None
    env: list[Table] | None = None
    resources: dict[str, Table | list[Any] | None] | None = None


class _PodSpec(msgspec.Struct):
    containers: list[_Container]
    nodeName: str | None = None  # noqa: N815
    volumes: list[Table] | None = None
    tolerations: list[Table] | None = None


class _Pod(msgspec.Struct):
    metadata: _Metadata
    spec: _PodSpec
    status: _Status | None = None


class _Address(msgspec.Struct):
    ip: str


class _EndpointPort(msgspec.Struct):
    port: int


class _Subset(msgspec.Struct):
    addresses: list[_Address] | None = None
    ports: list[_EndpointPort] | None = None


class _Endpoints(msgspec.Struct):
    metadata: _Metadata
    subsets: list[_Subset] | None = None


class _Taint(msgspec.Struct):
    key: str
    effect: str


class _NodeSpec(msgspec.Struct):
    unschedulable: bool = False
    taints: list[_Taint] | None = None


class _Node(msgspec.Struct):
    metadata: _Metadata
    spec: _NodeSpec | None = None
    status: _Status | None = None


_LIVE: dict[str, type[msgspec.Struct]] = {"Pod": _Pod, "Endpoints": _Endpoints, "Node": _Node}


def kind_of(item: Mapping[str, Any]) -> str:
    """An object's kind; with its group where a rule would take it for a kind of the same word."""
    kind, group = str(item["kind"]), str(item.get("apiVersion") or "v1").rpartition("/")[0]
    expected = _GROUPS.get(kind)
    return kind if expected is None or group in expected or "apiVersion" not in item else f"{kind}.{group or 'v1'}"


def live_fault(ref: Ref, item: Mapping[str, Any]) -> str | None:
    """What is wrong with a living object's shape, naming the place; None where nothing is."""
    if ref.kind not in KNOWN_KINDS:
        shape: type[msgspec.Struct] = _Other
    else:
        shape = _LIVE.get(ref.kind, _Any)
    try:
        msgspec.convert(item, shape)
    except msgspec.ValidationError as error:
        return f"{ref}: {error}"
    return shape_fault(ref, item)


def fit(item: Mapping[str, Any]) -> Manifest:
    """The object without what nobody reads, secret values withheld, nulls of its status left out."""
    kept = {key: value for key, value in item.items() if value is not None}
    metadata = {
        key: value
        for key, value in item["metadata"].items()
        if key not in ("managedFields", "selfLink") and value is not None
    }
    annotations = metadata.get("annotations")
    if isinstance(annotations, Mapping):
        metadata["annotations"] = {key: value for key, value in annotations.items() if key != LAST_APPLIED}
    kept["metadata"] = metadata
    if item.get("kind") == "Secret":
        for part in ("data", "stringData"):
            values = kept.get(part)
            if isinstance(values, Mapping):
                kept[part] = dict.fromkeys(map(str, values), WITHHELD)
    return _counted(kept) if item.get("kind") == "DaemonSet" else kept


def _counted(daemons: dict[str, Any]) -> Manifest:
    """A daemon set with its numbers where the other workloads have theirs."""
    status = daemons.get("status")
    if not isinstance(status, Mapping):
        return daemons
    wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
    spec = {**daemons["spec"], "replicas": wanted}
    return {**daemons, "spec": spec, "status": {**status, "readyReplicas": ready}}


LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def applied_text(item: Mapping[str, Any]) -> str | None:
    """The manifest that was applied last, as the cluster keeps it beside the object; None where it keeps none.

    That of a secret is passed over: it holds the values.
    """
    annotations = dig(item, "metadata.annotations")
    text = annotations.get(LAST_APPLIED) if isinstance(annotations, Mapping) else None
    return text if isinstance(text, str) and item.get("kind") != "Secret" else None


def endpoints_of(slices: Iterable[Mapping[str, Any]]) -> dict[str, Manifest]:
    """Endpoints by service, in their older shape, from the slices that clusters keep now."""
    subsets: dict[str, list[Table]] = {}
    for item in slices:
        labels = dig(item, "metadata.labels")
        service = labels.get("kubernetes.io/service-name") if isinstance(labels, Mapping) else None
        if not isinstance(service, str):
            continue
        found = subsets.setdefault(service, [])
        numbers = [port.get("port") for port in _tables(item.get("ports"))]
        ports = [{"port": number} for number in numbers if isinstance(number, int)]
        ips = [
            {"ip": str(address)}
            for endpoint in _tables(item.get("endpoints"))
            if dig(endpoint, "conditions.ready") is not False
            for address in endpoint.get("addresses") or ()
        ]
        if ips and ports:
            found.append({"addresses": ips, "ports": ports})
    return {
        service: {"kind": "Endpoints", "metadata": {"name": service}, "subsets": found}
        for service, found in subsets.items()
    }


def _tables(value: Any) -> list[Table]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def with_requests(node: Manifest, pods: Iterable[Manifest]) -> Manifest:
    """A node with what the pods on it ask for, which `kubectl get` does not print."""
    name = dig(node, "metadata.name")
    cpu = memory = 0.0
    for pod in pods:
        if dig(pod, "spec.nodeName") != name or dig(pod, "status.phase") in ("Succeeded", "Failed"):
            continue
        for container in _tables(dig(pod, "spec.containers")):
            cpu += quantity(dig(container, "resources.requests.cpu")) or 0.0
            memory += quantity(dig(container, "resources.requests.memory")) or 0.0
    status = node.get("status")
    requested = {"cpu": f"{cpu:.3f}", "memory": f"{memory:.0f}"}
    return {**node, "status": {**(status if isinstance(status, Mapping) else {}), "requested": requested}}
