"""The probes that fail now and do harm now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from holdfast_sre.diagnosis.findings import Evidence, quote
from holdfast_sre.diagnosis.symptoms import container_path, events_by_reason, is_recent, is_short, restarts, statuses
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, containers_of, dig

Probe = Literal["liveness", "readiness", "startup"]


class Failing(msgspec.Struct, frozen=True):
    """A probe that fails, with what tells of it; `text` is what its events say, empty where there are none."""

    workload: Ref
    container: Manifest
    probe: Probe
    evidence: tuple[Evidence, ...]
    text: str

    @property
    def body(self) -> Manifest:
        """The probe as written."""
        return dict(self.container.get(f"{self.probe}Probe") or {})

    @property
    def other(self) -> Manifest:
        """Another probe of the container; empty where it has none."""
        names = [name for name in ("readiness", "liveness", "startup") if name != self.probe]
        return next((dict(body) for name in names if (body := self.container.get(f"{name}Probe"))), {})

    @property
    def path(self) -> str:
        """Where the probe is written."""
        return f"{container_path(str(self.container['name']))}.{self.probe}Probe"

    @property
    def opened(self) -> set[Any]:
        """The numbers of the ports that the container opens."""
        return {entry.get("containerPort") for entry in self.container.get("ports") or ()}


def failing(snapshot: Snapshot, probe: Probe) -> Iterator[Failing]:
    """Probes that fail now and do harm now: restarts for liveness, an unready container for readiness."""
    word = probe.capitalize()
    for workload in snapshot.workloads:
        told = [
            event
            for event in events_by_reason(snapshot, workload, "Unhealthy")
            if event.message.startswith(word) and is_recent(event)
        ]
        if not told and events_by_reason(snapshot, workload, "Unhealthy"):
            continue  # Probes failed, but not this one, or not lately.
        for container in containers_of(snapshot.manifest(workload)):
            harm = _harm(snapshot, workload, str(container.get("name")), probe)
            if harm is not None and container.get(f"{probe}Probe"):
                evidence = (harm, *(quote(event.about, event.message) for event in told[:2]))
                text = " ".join(event.message for event in told)
                yield Failing(workload, container, probe, evidence, text)


def _harm(snapshot: Snapshot, workload: Ref, container: str, probe: Probe) -> Evidence | None:
    for ref, pod in snapshot.pods_of(workload):
        count = restarts(pod, container)
        if probe != "readiness" and count:
            return quote(ref, f"container {container} restarted {count} times")
        if probe == "readiness" and is_short(snapshot, workload):
            for status in statuses(pod):
                if status["name"] == container and not status.get("ready") and dig(status, "state.running") is not None:
                    return quote(ref, f"container {container} runs and is not ready")
    return None
