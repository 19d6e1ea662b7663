"""A volume that fits in all, and is somebody else's: the claim's own is missing."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import ANY_ABSENT, Field, Finding, Rule
from holdfast_sre.diagnosis.rules.storage.mismatches import unmatched
from holdfast_sre.evidence.snapshot import Ref, Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for found in unmatched(snapshot, "occupied"):
        # The claim's own volume was never declared here; the last known good may hold it under any name.
        blames = (Field(found.claim, "spec.volumeName"), Field(Ref(found.volume.kind, ANY_ABSENT), ""))
        yield Finding("claim-occupied", found.workload, 0.94, found.evidence, blames)


RULE = Rule(
    id="claim-occupied",
    title="The volume that would fit is bound to another claim",
    holds="a claim that a short workload mounts is Pending, and the volume closest to it differs: occupied",
    mending="put back claim and volume as they were bound last",
    proof="the claim is Bound",
    repair="patch",
    find=_find,
)
