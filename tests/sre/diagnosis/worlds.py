"""Small clusters of our own writing, in the shapes of the Kubernetes API, for the rules' tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from holdfast_sre.diagnosis.findings import Finding
from holdfast_sre.diagnosis.manifest_paths import copied
from holdfast_sre.diagnosis.rules import CATALOGUE
from holdfast_sre.evidence.snapshot import (
    Event,
    Failure,
    LogLine,
    Manifest,
    Measure,
    MeasureKind,
    NodeAgent,
    Probe,
    Ref,
    Signal,
    SignalKind,
    Snapshot,
)

NAMESPACE = "bakery"


def found(snapshot: Snapshot, rule_id: str) -> list[Finding]:
    """What one rule of the catalogue says."""
    rule = next(rule for rule in CATALOGUE if rule.id == rule_id)
    return list(rule.find(snapshot))


def container(name: str = "app", *, image: str = "registry.test/oven:1.0", port: int = 8000, **more: Any) -> Manifest:
    """A container that opens one port."""
    return {"name": name, "image": image, "ports": [{"containerPort": port}], **more}


class World:
    """Collects what a snapshot holds. Everything is healthy unless a test makes it otherwise."""

    def __init__(self) -> None:
        self.live: dict[Ref, Manifest] = {}
        self.declared: dict[Ref, Manifest] = {}
        self.events: list[Event] = []
        self.logs: list[LogLine] = []
        self.probes: list[Probe] = []
        self.agents: list[NodeAgent] = []
        self.signals: list[Signal] = []
        self.measures: list[Measure] = []
        self.failures: list[Failure] = []
        self.taken_at = ""
        self.calls: dict[str, tuple[str, ...]] = {}

    def add(self, kind: str, name: str, body: Mapping[str, Any], *, live: bool = True, declared: bool = True) -> Ref:
        """Any object, asked for and there."""
        ref = Ref(kind, name)
        manifest = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **body}
        if declared:
            self.declared[ref] = manifest
        if live:
            self.live[ref] = copied(manifest)
        return ref

    def deployment(
        self,
        name: str,
        *,
        containers: Sequence[Manifest] | None = None,
        kind: str = "Deployment",
        ready: int = 1,
        replicas: int = 1,
        pods: int | None = None,
        state: Mapping[str, Any] | None = None,
        last_state: Mapping[str, Any] | None = None,
        restarts: int = 0,
        node: str | None = "node-a",
        annotations: Mapping[str, str] | None = None,
        **pod_spec: Any,
    ) -> Ref:
        """A workload with its replica set and pods; `state` is that of the containers that are not ready."""
        boxes = list(containers or [container()])
        labels = {"app": name}
        template = {
            "metadata": {"labels": labels, **({"annotations": dict(annotations)} if annotations else {})},
            "spec": {"containers": boxes, **pod_spec},
        }
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        ref = self.add(kind, name, {"spec": spec})
        self.live[ref] = {**copied(self.declared[ref]), "status": {"readyReplicas": ready}}
        owner = {"ownerReferences": [{"kind": kind, "name": name}]}
        self.live[Ref("ReplicaSet", f"{name}-1")] = {"kind": "ReplicaSet", "metadata": {"name": f"{name}-1", **owner}}
        for index in range(replicas if pods is None else pods):
            is_ready = index < ready
            statuses = [
                {
                    "name": box["name"],
                    "ready": is_ready,
                    "restartCount": restarts,
                    "state": {"running": {}} if is_ready or state is None else dict(state),
                    "lastState": dict(last_state or {}),
                }
                for box in boxes
            ]
            pod = {
                "kind": "Pod",
                "metadata": {
                    "name": f"{name}-1-{index}",
                    "labels": labels,
                    "ownerReferences": [{"kind": "ReplicaSet", "name": f"{name}-1"}],
                },
                "spec": {"containers": copied(boxes), **({"nodeName": node} if node else {})},
                "status": {
                    "phase": "Running" if node else "Pending",
                    "podIP": f"10.0.0.{len(self.live)}",
                    "containerStatuses": statuses if node else [],
                },
            }
            self.live[Ref("Pod", f"{name}-1-{index}")] = pod
        return ref

    def pod(self, name: str, index: int = 0) -> Ref:
        """A workload's pod."""
        return Ref("Pod", f"{name}-1-{index}")

    def service(
        self,
        name: str,
        *,
        selector: Mapping[str, str] | None = None,
        port: int = 80,
        target: int | str = 8000,
        protocol: str | None = None,
        addresses: Sequence[str] = ("10.0.0.9",),
        live: bool = True,
    ) -> Ref:
        """A service with endpoints."""
        entry = {"name": "main", "port": port, "targetPort": target, **({"protocol": protocol} if protocol else {})}
        body = {"spec": {"selector": dict(selector or {"app": name}), "ports": [entry]}}
        subsets = [{"addresses": [{"ip": ip} for ip in addresses], "ports": [{"port": 8000}]}] if addresses else []
        self.live[Ref("Endpoints", name)] = {"kind": "Endpoints", "metadata": {"name": name}, "subsets": subsets}
        return self.add("Service", name, body, live=live)

    def node(self, name: str, *, labels: Mapping[str, str] | None = None, ready: str = "True", **spec: Any) -> Ref:
        """A node with 4 cores and 8 GiB."""
        body = {
            "metadata": {"name": name, "labels": dict(labels or {})},
            "spec": spec,
            "status": {
                "allocatable": {"cpu": "4", "memory": "8Gi"},
                "conditions": [{"type": "Ready", "status": ready, "message": "kubelet stopped posting"}],
            },
        }
        ref = Ref("Node", name)
        self.live[ref] = {"kind": "Node", **body}
        return ref

    def event(self, about: Ref, reason: str, message: str, *, age_s: float | None = 10.0) -> None:
        """A warning, seen lately unless said otherwise."""
        self.events.append(Event(about, "Warning", reason, message, age_s=age_s))

    def log(self, workload: str, text: str) -> None:
        """A line in a workload's error log."""
        self.logs.append(LogLine(workload, text))

    def connect(self, service: str, *, reached: bool, port: int = 80) -> None:
        """An attempt to connect to a service."""
        self.probes.append(Probe(service, port, reached, "succeeded" if reached else "refused"))

    def signal(
        self, name: str, kind: SignalKind, current: float, normal: float | None, *, of: str = "Service", pct: int = 0
    ) -> None:
        """A measured deviation."""
        self.signals.append(Signal(Ref(of, name), kind, current, normal, f"{name} {kind} {normal} to {current}", pct))

    def measure(
        self, name: str, kind: MeasureKind, normal: float, current: float, *, of: str = "Service", pct: int = 0
    ) -> None:
        """A metric, deviant or not."""
        self.measures.append(Measure(Ref(of, name), kind, normal, current, pct))

    def snapshot(self) -> Snapshot:
        """All of it."""
        return Snapshot(
            namespace=NAMESPACE,
            live=self.live,
            declared=self.declared,
            events=tuple(self.events),
            logs=tuple(self.logs),
            probes=tuple(self.probes),
            agents=tuple(self.agents),
            signals=tuple(self.signals),
            measures=tuple(self.measures),
            failures=tuple(self.failures),
            calls=self.calls,
            taken_at=self.taken_at,
        )


def calling(*callers: str, address: str, port: int = 81) -> World:
    """Workloads whose environment names an address, and a service `till` at a port."""
    world = World()
    world.deployment("till")
    world.service("till", port=port)
    for name in callers:
        world.deployment(name, containers=[container(env=[{"name": "TILL_ADDR", "value": address}])])
    return world


def chain() -> World:
    """shop calls till, till calls oven."""
    world = World()
    for name in ("shop", "till", "oven"):
        world.deployment(name)
    world.calls |= {"shop": ("till",), "till": ("oven",)}
    return world


def measured_chain(*rows: tuple[str, float, float]) -> World:
    """Services that call each other in a row, each with a latency before and now."""
    world = World()
    for name, normal, current in rows:
        world.deployment(name)
        world.measure(name, "latency_ms", normal, current, pct=90)
    names = [name for name, _, _ in rows]
    world.calls = {caller: (callee,) for caller, callee in pairwise(names)}
    return world


PREEMPTION = ". preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."
GPU_TAINT: dict[str, Any] = {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}
EVERY_SIGN = (
    "0/3 nodes are available: 1 node(s) were unschedulable, 1 didn't match Pod's node affinity/selector, "
    "1 had untolerated taint {x: y}, Insufficient cpu, Insufficient memory, didn't match pod anti-affinity rules"
)


def scheduling(*parts: str) -> str:
    """The scheduler's message with its counts of nodes."""
    return f"0/4 nodes are available: {', '.join(parts)}{PREEMPTION}"


def without_node(message: str | None = EVERY_SIGN, *, node: str | None = None, **pod_spec: Any) -> World:
    """A workload whose pod waits for a node, and what the scheduler says of it; placed since on `node`."""
    world = World()
    world.deployment("oven", ready=0 if node is None else 1, node=node, **pod_spec)
    if message is not None:
        world.event(world.pod("oven"), "FailedScheduling", message)
    return world
