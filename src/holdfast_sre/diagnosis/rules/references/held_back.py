"""Pods that wait to be configured or mounted, and what is told of them."""

from __future__ import annotations

from holdfast_sre.diagnosis.symptoms import events_by_reason, waiting
from holdfast_sre.evidence.snapshot import Event, Ref, Snapshot

KINDS = {"secret": "Secret", "configmap": "ConfigMap", "config": "ConfigMap"}
"""The kinds as the kubelet calls them."""


def held_back(snapshot: Snapshot, workload: Ref) -> list[tuple[Ref, str]]:
    """What is told of the workload's pods that cannot be configured or mounted: the pod, and the text."""
    found = [
        (held.pod, held.message)
        for held in waiting(snapshot, workload)
        if held.reason == "CreateContainerConfigError" and held.message
    ]
    pods = {held.pod for held in waiting(snapshot, workload)}
    events: list[Event] = events_by_reason(snapshot, workload, "Failed", "FailedMount")
    return found + [(event.about, event.message) for event in events if event.about in pods]
