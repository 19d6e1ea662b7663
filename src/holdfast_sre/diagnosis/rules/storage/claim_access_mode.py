"""A claim that asks for a way to mount which the closest volume does not allow."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule
from holdfast_sre.diagnosis.rules.storage.mismatches import unmatched
from holdfast_sre.evidence.snapshot import Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for found in unmatched(snapshot, "access-mode"):
        blames = (Field(found.claim, "spec.accessModes"), Field(found.volume, "spec.accessModes"))
        yield Finding("claim-access-mode", found.workload, 0.94, found.evidence, blames)


RULE = Rule(
    id="claim-access-mode",
    title="No volume offers the claim's access mode",
    holds="a claim that a short workload mounts is Pending, and the volume closest to it differs: access-mode",
    mending="put back claim and volume as they were bound last",
    proof="the claim is Bound",
    repair="patch",
    find=_find,
)
