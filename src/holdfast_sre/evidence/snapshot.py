"""One namespace of a cluster at one moment, in the shapes of the Kubernetes API, whatever tool wrote it down.

`live` is what the cluster runs, `declared` what the repository of manifests asks for. Readers (one per layout of
files) fill both; rules read them and nothing else. What a reader could not find it names in `missing`. `taken_at` is
the moment as the recording wrote it (ISO 8601, its own clock), empty where it did not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import msgspec

Manifest = Mapping[str, Any]

WORKLOAD_KINDS = ("Deployment", "StatefulSet", "DaemonSet")


class Ref(msgspec.Struct, frozen=True, order=True):
    """The name of one object. A snapshot holds one namespace, so kind and name are enough."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


class Event(msgspec.Struct, frozen=True):
    """One Kubernetes event. `age_s` is the time since it was last seen, in seconds; None where it was not written."""

    about: Ref
    type: str
    reason: str
    message: str
    count: int = 1
    age_s: float | None = None


class LogLine(msgspec.Struct, frozen=True):
    """A line, or a group of like lines (`count`), from a workload's error log."""

    workload: str
    text: str
    count: int = 1


class Probe(msgspec.Struct, frozen=True):
    """An attempt to connect to a service's port from inside the cluster."""

    service: str
    port: int
    reached: bool
    text: str


class NodeAgent(msgspec.Struct, frozen=True):
    """A program that the host itself keeps running (kubelet, container runtime, proxy, scheduler)."""

    node: str
    agent: str
    is_active: bool
    text: str


SignalKind = Literal[
    "latency",
    "throughput_drop",
    "throughput_surge",
    "traffic_drop",
    "traffic_surge",
    "retransmissions",
    "errors",
    "cpu",
    "cpu_throttled",
]


class Signal(msgspec.Struct, frozen=True):
    """A measured deviation: `normal` before, `current` during the incident (ms, requests/s, packets/s, cores, s).

    `percentile` tells of which a latency is; 0 for everything else.
    """

    subject: Ref
    kind: SignalKind
    current: float
    normal: float | None
    text: str
    percentile: int = 0

    @property
    def factor(self) -> float:
        """How many times the normal value it is; infinity where normal is unknown or zero."""
        return self.current / self.normal if self.normal else float("inf")


MeasureKind = Literal[
    "latency_ms", "requests", "successes", "packets_in", "packets_out", "cpu", "throttled_s", "retransmissions"
]


class Measure(msgspec.Struct, frozen=True):
    """A metric of a service or node, deviant or not, before the incident and during it: of a latency the median, else
    the mean.

    `successes` is a share of 1; `requests`, `packets_in`, `packets_out` and `retransmissions` are per second, `cpu` is
    in cores. `percentile` tells of which a latency is; 0 for everything else.
    """

    subject: Ref
    kind: MeasureKind
    normal: float
    current: float
    percentile: int = 0


class Failure(msgspec.Struct, frozen=True):
    """Requests from outside that failed: the URL's path, the service it is meant for, the HTTP status, how often."""

    service: str
    url: str
    status: int
    count: int
    text: str


@dataclass(frozen=True)
class Snapshot:
    """See the module. All collections are read-only by convention; `with_declared` gives a changed copy."""

    namespace: str
    summary: str = ""
    live: Mapping[Ref, Manifest] = field(default_factory=dict)
    declared: Mapping[Ref, Manifest] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    logs: tuple[LogLine, ...] = ()
    probes: tuple[Probe, ...] = ()
    agents: tuple[NodeAgent, ...] = ()
    signals: tuple[Signal, ...] = ()
    measures: tuple[Measure, ...] = ()
    failures: tuple[Failure, ...] = ()
    calls: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    taken_at: str = ""
    missing: tuple[str, ...] = ()

    def with_declared(self, declared: Mapping[Ref, Manifest]) -> Snapshot:
        """The same moment with other manifests in the repository."""
        return replace(self, declared=declared)

    def manifest(self, ref: Ref) -> Manifest:
        """What is asked for: the declared object, else the live one, else an empty mapping."""
        return self.declared.get(ref) or self.live.get(ref) or {}

    @cached_property
    def _by_kind(self) -> dict[str, list[tuple[Ref, Manifest]]]:
        found: dict[str, list[tuple[Ref, Manifest]]] = {}
        for ref in sorted({*self.live, *self.declared}):
            found.setdefault(ref.kind, []).append((ref, self.manifest(ref)))
        return found

    def of_kind(self, kind: str) -> list[tuple[Ref, Manifest]]:
        """All objects of a kind by name, each as it is asked for."""
        return self._by_kind.get(kind, [])

    @cached_property
    def workloads(self) -> tuple[Ref, ...]:
        """Deployments, stateful sets and daemon sets, by name."""
        return tuple(sorted(ref for ref in {*self.live, *self.declared} if ref.kind in WORKLOAD_KINDS))

    def exists(self, ref: Ref) -> bool:
        """Whether the cluster has the object now."""
        return ref in self.live

    def owner_of(self, ref: Ref) -> Ref:
        """The workload at the end of the chain of owners; the object itself where nothing owns it."""
        seen = {ref}
        while True:
            owners = dig(self.live.get(ref, {}), "metadata.ownerReferences") or ()
            above = next((Ref(owner["kind"], owner["name"]) for owner in owners), None)
            if above is None and ref not in self.live:
                above = self._namesake(ref)
            if above is None or above in seen:
                return ref
            seen.add(above)
            ref = above

    def _namesake(self, ref: Ref) -> Ref | None:
        """The workload that an unrecorded object is named after: `till` of `till-5d8f` and `till-5d8f-x2x`."""
        name = ref.name
        for _ in range({"ReplicaSet": 1, "Pod": 2}.get(ref.kind, 0)):
            name = name.rpartition("-")[0]
            for kind in WORKLOAD_KINDS:
                named = Ref(kind, name)
                if named in self.live or named in self.declared:
                    return named
        return None

    def signals_of(self, kind: SignalKind) -> list[Signal]:
        """Deviations of one kind."""
        return [signal for signal in self.signals if signal.kind == kind]

    @cached_property
    def _measures_by_kind(self) -> dict[MeasureKind, list[Measure]]:
        found: dict[MeasureKind, list[Measure]] = {}
        for measure in self.measures:
            found.setdefault(measure.kind, []).append(measure)
        return found

    def measures_of(self, kind: MeasureKind) -> list[Measure]:
        """Metrics of one kind."""
        return self._measures_by_kind.get(kind, [])

    @cached_property
    def _pods_by_owner(self) -> dict[Ref, list[Ref]]:
        found: dict[Ref, list[Ref]] = {}
        for ref in sorted(self.live):
            if ref.kind == "Pod":
                found.setdefault(self.owner_of(ref), []).append(ref)
        return found

    def pods_of(self, workload: Ref) -> list[tuple[Ref, Manifest]]:
        """The live pods that a workload owns, by name."""
        return [(ref, self.live[ref]) for ref in self._pods_by_owner.get(workload, ())]

    @cached_property
    def _events_by_object(self) -> dict[Ref, list[Event]]:
        found: dict[Ref, list[Event]] = {}
        for event in self.events:
            found.setdefault(event.about, []).append(event)
        return found

    def events_of(self, ref: Ref) -> list[Event]:
        """Events about one object."""
        return self._events_by_object.get(ref, [])

    @cached_property
    def _events_by_owner(self) -> dict[Ref, list[Event]]:
        found: dict[Ref, list[Event]] = {}
        recorded = {ref.kind for ref in self.live}
        for about, events in self._events_by_object.items():
            if about in self.live or about.kind not in recorded:
                found.setdefault(self.owner_of(about), []).extend(events)
        return found

    def events_under(self, workload: Ref) -> list[Event]:
        """Events about a workload and whatever it owns that still exists; an event of a deleted pod is history."""
        return self._events_by_owner.get(workload, [])

    def logs_of(self, name: str) -> list[LogLine]:
        """Error log lines of a workload or service of that name."""
        return [line for line in self.logs if line.workload == name]

    def services_of(self, workload: Ref) -> list[tuple[Ref, Manifest]]:
        """Services whose selector the workload's pods match, and the service that has the workload's name."""
        labels = dig(self.manifest(workload), "spec.template.metadata.labels") or {}
        found = []
        for ref, service in self.of_kind("Service"):
            selector = dig(service, "spec.selector") or {}
            is_match = bool(selector) and all(labels.get(key) == value for key, value in selector.items())
            if is_match or ref.name == workload.name:
                found.append((ref, service))
        return found

    @cached_property
    def _faces(self) -> list[tuple[Ref, list[Mapping[str, str]], set[str]]]:
        """For each workload the labels that its template and its pods have, and its pods' addresses.

        Operators label pods of their own accord.
        """
        found = []
        for workload in self.workloads:
            pods = [pod for _, pod in self.pods_of(workload)]
            labelled = [dig(self.manifest(workload), "spec.template.metadata.labels")]
            labelled += [dig(pod, "metadata.labels") for pod in pods]
            labels = [labels for labels in labelled if isinstance(labels, Mapping)]
            found.append((workload, labels, {str(dig(pod, "status.podIP")) for pod in pods}))
        return found

    def workloads_behind(self, service: str) -> list[Ref]:
        """The workloads that a service leads to: by the addresses of its endpoints, or by its selector."""
        hosts = {address.rpartition(":")[0] for address in self.addresses_of(service) or ()}
        selector = dig(self.manifest(Ref("Service", service)), "spec.selector") or {}
        return [
            workload
            for workload, labelled, addresses in self._faces
            if hosts & addresses or (selector and any(selector.items() <= labels.items() for labels in labelled))
        ]

    def addresses_of(self, service: str) -> list[str] | None:
        """The ready addresses behind a service, as host:port; None where the endpoints were not recorded."""
        endpoints = self.live.get(Ref("Endpoints", service))
        if endpoints is None:
            return None
        return [
            f"{address['ip']}:{port['port']}"
            for subset in endpoints.get("subsets") or ()
            for address in subset.get("addresses") or ()
            for port in subset.get("ports") or ()
        ]

    def callers_of(self, service: str) -> list[str]:
        """Names of the services that call it, by the recorded dependencies."""
        return sorted(name for name, callees in self.calls.items() if service in callees)


def dig(value: Any, path: str) -> Any:
    """The value at a dotted path of keys; None where any part of it is absent."""
    for key in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def containers_of(workload: Manifest) -> list[Manifest]:
    """The containers of a workload's pod template, or of a pod; empty where there are none."""
    spec = dig(workload, "spec.template.spec") or workload.get("spec") or {}
    return [container for container in spec.get("containers") or () if isinstance(container, Mapping)]


def pod_spec_of(workload: Manifest) -> Manifest:
    """The pod template's spec; empty where there is none."""
    spec = dig(workload, "spec.template.spec")
    return spec if isinstance(spec, Mapping) else {}
