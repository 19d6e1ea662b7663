"""The volume claims that workloads mount."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref, Snapshot, dig, pod_spec_of

CLAIM = "PersistentVolumeClaim"


def claims_of(snapshot: Snapshot, workload: Ref) -> list[Ref]:
    """The claims that a workload's pods mount."""
    volumes = pod_spec_of(snapshot.manifest(workload)).get("volumes") or ()
    names = [dig(volume, "persistentVolumeClaim.claimName") for volume in volumes]
    return [Ref(CLAIM, str(name)) for name in names if name]
