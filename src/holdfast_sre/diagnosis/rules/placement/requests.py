"""Pods that ask for more of something than any node has left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from holdfast_sre.diagnosis.findings import Field, Finding
from holdfast_sre.diagnosis.rules.placement.kept_out import kept_out
from holdfast_sre.diagnosis.scheduling import requested
from holdfast_sre.diagnosis.symptoms import container_path
from holdfast_sre.evidence.snapshot import Snapshot, containers_of, pod_spec_of


def too_large(snapshot: Snapshot, rule: str, resource: Literal["cpu", "memory"]) -> Iterator[Finding]:
    """What the rule finds: the workloads whose request for the resource keeps their pods from all nodes."""
    for found in kept_out(snapshot, resource):
        manifest = snapshot.manifest(found.workload)
        wanted = f"asks for {resource} {requested(pod_spec_of(manifest), resource):g} in all"
        blames = tuple(
            Field(found.workload, f"{container_path(str(container['name']))}.resources.{part}.{resource}")
            for container in containers_of(manifest)
            for part in ("requests", "limits")
        )
        yield Finding(rule, found.workload, found.confidence, found.evidence(wanted), blames)
