"""The autoscalers of a cluster, what they scale and what they say of themselves."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, dig


def autoscalers(snapshot: Snapshot) -> Iterator[tuple[Ref, Manifest]]:
    """Those that the cluster has, as they are there."""
    for ref, _ in snapshot.of_kind("HorizontalPodAutoscaler"):
        if ref in snapshot.live:
            yield ref, snapshot.live[ref]


def condition_of(scaler: Manifest, kind: str) -> Manifest:
    """A condition by its type; empty where it is not told."""
    for condition in dig(scaler, "status.conditions") or ():
        if condition.get("type") == kind:
            return dict(condition)
    return {}


def target_of(scaler: Manifest) -> Ref:
    """The workload that it is to scale."""
    target = dig(scaler, "spec.scaleTargetRef") or {}
    return Ref(str(target.get("kind", "")), str(target.get("name", "")))
