"""What is wrong with a workload right now: the gates that every rule passes before it blames a field.

Kubernetes keeps events for an hour; a finding needs a symptom that holds at the moment of the snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any

import msgspec

from holdfast_sre.evidence.snapshot import Event, Manifest, Ref, Snapshot, containers_of, dig

RECENT_S = 300.0


class Waiting(msgspec.Struct, frozen=True):
    """A container that is held back, with the reason that the kubelet gives."""

    pod: Ref
    container: str
    reason: str
    message: str


def desired(workload: Manifest) -> int:
    """Replicas asked for; 1 where none is written, as the API has it."""
    replicas = dig(workload, "spec.replicas")
    return replicas if isinstance(replicas, int) else 1


def ready(workload: Manifest) -> int:
    """Replicas ready now."""
    return int(dig(workload, "status.readyReplicas") or 0)


def is_short(snapshot: Snapshot, workload: Ref) -> bool:
    """Whether fewer replicas are ready than the cluster was asked for."""
    live = snapshot.live.get(workload)
    return live is not None and ready(live) < desired(live)


def short_workloads(snapshot: Snapshot) -> list[Ref]:
    """All workloads that are short of ready replicas."""
    return [ref for ref in snapshot.workloads if is_short(snapshot, ref)]


def statuses(pod: Manifest) -> list[dict[str, Any]]:
    """The statuses of a pod's containers, init containers first."""
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def waiting(snapshot: Snapshot, workload: Ref) -> Iterator[Waiting]:
    """The held back containers of a workload's pods."""
    for ref, pod in snapshot.pods_of(workload):
        for status in statuses(pod):
            state = dig(status, "state.waiting")
            if state is not None:
                yield Waiting(ref, status["name"], state.get("reason", ""), state.get("message", ""))


def restarts(pod: Manifest, container: str | None = None) -> int:
    """How often the containers of a pod were restarted, or the one named."""
    return sum(status.get("restartCount", 0) for status in statuses(pod) if container in (None, status["name"]))


def is_pending(pod: Manifest) -> bool:
    """Whether a pod waits for a node."""
    return dig(pod, "status.phase") == "Pending" and not dig(pod, "spec.nodeName")


def pending_pods(snapshot: Snapshot, workload: Ref) -> list[tuple[Ref, Manifest]]:
    """A workload's pods without a node."""
    return [(ref, pod) for ref, pod in snapshot.pods_of(workload) if is_pending(pod)]


def events_by_reason(snapshot: Snapshot, workload: Ref, *reasons: str) -> list[Event]:
    """Events of the given reasons under a workload, latest first, those of unknown age last."""
    found = [event for event in snapshot.events_under(workload) if event.reason in reasons]
    return sorted(found, key=_lateness)


def _lateness(event: Event) -> tuple[float, Ref, str]:
    return float("inf") if event.age_s is None else event.age_s, event.about, event.message


def unplaced(snapshot: Snapshot) -> Iterator[tuple[Ref, Ref, str]]:
    """Workloads with a pod that waits for a node, the pod, and the scheduler's latest message about it."""
    for workload in snapshot.workloads:
        pods = {ref for ref, _ in pending_pods(snapshot, workload)}
        told = [event for event in events_by_reason(snapshot, workload, "FailedScheduling") if event.about in pods]
        if told:
            yield workload, told[0].about, told[0].message


def is_recent(event: Event) -> bool:
    """Whether an event was seen in the last RECENT_S seconds; one of unknown age counts."""
    return event.age_s is None or event.age_s <= RECENT_S


def declared_container(snapshot: Snapshot, workload: Ref, name: str) -> Manifest:
    """The container of that name in what is asked for; empty where there is none."""
    containers = containers_of(snapshot.manifest(workload))
    return next((container for container in containers if container.get("name") == name), {})


def container_path(name: str) -> str:
    """The path of a container in a workload's manifest."""
    return f"spec.template.spec.containers[{name}]"


def workload_named(snapshot: Snapshot, service: str) -> Ref:
    """The workload of a service's name; the service itself where there is none."""
    return next((ref for ref in snapshot.workloads if ref.name == service), Ref("Service", service))


def unreached(snapshot: Snapshot, service: str) -> bool:
    """Whether a connection to the service was tried and failed; False where none was tried."""
    return any(probe.service == service and not probe.reached for probe in snapshot.probes)


def was_tried(snapshot: Snapshot, service: str) -> bool:
    """Whether a connection to the service was tried at all."""
    return any(probe.service == service for probe in snapshot.probes)


def nearest(name: str, candidates: list[str], *, at_least: float = 0.75) -> str | None:
    """The one candidate that looks most like a misspelt name; None where none or several do."""
    scored = sorted(((SequenceMatcher(None, name, other).ratio(), other) for other in candidates), reverse=True)
    close = [other for score, other in scored if score >= at_least]
    if not close or (len(close) > 1 and scored[0][0] == scored[1][0]):
        return None
    return close[0]
