"""A volume is bound by a claim of its own class only; no class is a class, too."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule
from holdfast_sre.diagnosis.rules.storage.mismatches import unmatched
from holdfast_sre.evidence.snapshot import Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for found in unmatched(snapshot, "class"):
        blames = (Field(found.claim, "spec.storageClassName"), Field(found.volume, "spec.storageClassName"))
        yield Finding("claim-class", found.workload, 0.94, found.evidence, blames)


RULE = Rule(
    id="claim-class",
    title="The claim and the volume have different storage classes",
    holds="a claim that a short workload mounts is Pending, and the volume closest to it differs: class",
    mending="put back claim and volume as they were bound last",
    proof="the claim is Bound",
    repair="patch",
    find=_find,
)
